"""Bad flags and files of commands: one line that names the flag or file, exit code 2, and nothing is written."""

import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import command, error_line
from PIL import Image

from lightmodels.cli.config_files import MAX_BYTES, MAX_DEPTH

SMALL = ("--max_epochs", 2, "--data.num_rows", 100, "--data.test_rows", 50, "--trainer.figures", "false")


@pytest.fixture
def run(capfd):
    return lambda name, *argv: command(capfd, name, *argv)


def assert_refused(ended, *parts):
    """One line on standard error that has these parts, and no file written."""
    line = error_line(ended)
    for part in parts:
        assert part in line
    assert list(Path().iterdir()) == []


TRAINER_OPTIONS = {
    "accumulate_grad_batches": [0, -1],
    "val_check_interval": [0, -1, "0.0", 1.5],
    "check_val_every_n_epoch": [0, -2, 3],
    "max_steps": [0, -2],
    "min_steps": [-1],
    "min_epochs": [-1, 3],
    "gradient_clip_val": [-1, -0.5],
    "log_every_n_steps": [-1],
    "num_sanity_val_steps": [-2],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, all in TRAINER_OPTIONS.items() for value in all])
def test_options_of_the_trainer_out_of_their_range_are_refused(run, name, value):
    assert_refused(run("train", *SMALL, f"--trainer.{name}", value), f"--trainer.{name} must be", f"got {value}")


def test_a_trial_run_without_checkpoints_tests_the_last_weights(run):
    assert run("train", *SMALL, "--trainer.fast_dev_run", "true").code == 0


UNKNOWN = {
    "--lr": "--model.lr",
    "--num_rows": "--data.num_rows",
    "--num_rosw": "--data.num_rows",
    "--patience": "--trainer.patience",
    "--accumulate_grad_batches": "--trainer.accumulate_grad_batches",
    "--max_epoch": "--max_epochs",
    "--epochs": "--max_epochs",
    "--learning_rate": "--model.lr",
    "--model.batch_size": "--data.batch_size",
    "--model.lrr": "--model.lr",
    "--trainer.logger": "--logger",
}


@pytest.mark.parametrize("flag", UNKNOWN)
def test_an_unknown_flag_suggests_the_flag_that_ends_in_it(run, flag):
    assert_refused(run("train", flag, 1), f"unknown flag {flag}; did you mean {UNKNOWN[flag]}?")
    dashed = "--" + flag.removeprefix("--").replace("_", "-")
    assert_refused(run("train", f"{dashed}=1"), f"unknown flag {flag}; did you mean {UNKNOWN[flag]}?")


@pytest.mark.parametrize("name", ["train", "tune"])
def test_an_unknown_flag_like_no_other_lists_those_of_its_group(run, name):
    flags = ("--model.width", 3, *(["--model.lr", "0.1,0.2"] if name == "tune" else []))
    ended = run(name, "--task", "reuters", *flags)
    assert_refused(ended, f"{name}.py: unknown flag --model.width; there are --model.", "--model.masking", "--model.lr")
    assert "num_classes" not in ended.err  # follows from the data
    assert_refused(run("train", "--trainer.nonsense", 3), "unknown flag --trainer.nonsense; --print_config shows all")
    assert_refused(run("evaluate", "--ckpt", "a", "--gpu_s", 1), "unknown flag --gpu_s; did you mean --gpus?")


# Configuration files


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD_YAML = {
    "a bomb": (BOMB, "another part of itself"),
    "nested lists": ("task: ring\nmodel: " + "[" * 50_000, f"{MAX_DEPTH} levels"),
    "nested mappings": ("task: ring\nmodel: " + "{a: " * 10_000 + "}" * 10_000, f"{MAX_DEPTH} levels"),
    "a large file": ("task: ring\n" + "# nothing\n" * MAX_BYTES, "100 kB"),
}


@pytest.mark.parametrize("kind", BAD_YAML)
def test_yaml_that_would_take_hours_to_read_is_refused(run, kind, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "bad.yaml"
    text, reason = BAD_YAML[kind]
    path.write_text(text)
    assert_refused(run("train", "--config", path), f"--config {path}", reason)
    assert_refused(run("train", "--model", path), "model", str(path))


def test_a_run_whose_configuration_is_a_bomb_is_not_resumed(run):
    assert run("train", *SMALL, "--run_dir", "run").code == 0
    Path("run/config.yaml").write_text(BOMB)
    ended = run("train", "--resume", "last", "--run_dir", "run", "--task", "ring", "--max_epochs", 3)
    assert "config.yaml refers to another part of itself" in error_line(ended)


# Class paths


@pytest.mark.parametrize("name", ["logger", "callbacks", "plugins", "profiler", "strategy", "accelerator", "max_time"])
@pytest.mark.parametrize(
    "value", ["{name}.Thing", '{{"class_path": "{name}.Thing"}}', '[{{"class_path": "{name}.Thing"}}]']
)
def test_class_paths_in_flags_import_nothing(run, name, value, tmp_path_factory, monkeypatch):
    modules = tmp_path_factory.mktemp("modules")
    (modules / "unwanted_module.py").write_text("class Thing:\n    pass\n")
    monkeypatch.syspath_prepend(modules)
    assert_refused(run("train", *SMALL, f"--trainer.{name}", value.format(name="unwanted_module")), "--trainer")
    assert run("train", *SMALL, f"--trainer.{name}.help", "unwanted_module.Thing").code == 2
    assert "unwanted_module" not in sys.modules


@pytest.mark.parametrize(("name", "value"), [("profiler", "simple"), ("accelerator", "cpu"), ("strategy", "auto")])
def test_objects_of_lightning_are_named(run, name, value):
    assert run("train", *SMALL, f"--trainer.{name}", value, "--run_dir", "run").code == 0
    assert f"  {name}: {value}" in Path("run/config.yaml").read_text().splitlines()


# What a terminal would act on


RED = "\x1b[31m\x07"


def assert_harmless(*texts):
    for text in texts:
        assert all(each.isprintable() for line in text.splitlines() for each in line), repr(text)


@pytest.mark.parametrize(
    "argv",
    [
        ("train", f"--{RED}", 1),
        ("train", "--config", f"{RED}.yaml"),
        ("train", "--task", RED),
        ("train", "--resume", f"{RED}.ckpt"),
        ("train", "--trainer.strategy", RED),
        ("evaluate", "--ckpt", f"{RED}.ckpt"),
        ("predict", "--ckpt", f"{RED}.ckpt", "x"),
        ("lightmodels", RED),
    ],
)
def test_control_characters_in_arguments_do_not_reach_the_terminal(run, argv):
    ended = run(*argv)
    assert ended.code == 2
    assert "\\x1b[31m\\x07" in ended.err
    assert_harmless(ended.err, ended.out)


def test_control_characters_in_names_of_files_and_classes_do_not_reach_the_terminal(run, checkpoints, data_files):
    checkpoint = torch.load(checkpoints["mnist"], weights_only=True)
    checkpoint["data_info"]["classes"] = [f"{RED}{name}" for name in checkpoint["data_info"]["classes"]]
    torch.save(checkpoint, "named.ckpt")
    write_digit(f"{RED}.png", "PNG")
    ended = run("predict", "--ckpt", "named.ckpt", f"{RED}.png")
    assert (ended.code, ended.err) == (0, "")
    assert "\\x1b[31m\\x07.png" in ended.out
    assert_harmless(ended.out)
    ended = run("train", *SMALL, "--run_dir", RED)
    assert ended.code == 0
    assert_harmless(ended.out)
    checkpoint["model_class"] = f"{RED}Net"
    torch.save(checkpoint, "other.ckpt")
    for name in ("predict", "export"):
        assert_harmless(run(name, "--ckpt", "other.ckpt", *(["x.png"] if name == "predict" else [])).err)


# Pictures


def write_digit(path, format_):
    picture = Image.new("L", (40, 40), 255)
    picture.paste(0, (18, 8, 24, 32))
    picture.save(path, format_)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
def test_pictures_of_the_usual_formats_are_read(run, checkpoints, format_):
    write_digit("one.png", format_)
    assert run("predict", "--ckpt", checkpoints["mnist"], "one.png").code == 0


@pytest.mark.parametrize("format_", ["TIFF", "PPM", "ICO", "TGA", "PDF", "EPS"])
def test_pictures_of_rare_formats_are_refused(run, checkpoints, format_):
    write_digit("one.png", format_)
    line = error_line(run("predict", "--ckpt", checkpoints["mnist"], "one.png"))
    assert "one.png is not an image that can be read (PNG, JPEG, BMP, GIF or WebP)" in line
