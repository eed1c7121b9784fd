"""After kills, damage, full disks and unwritable directories: one line of error, and nothing is lost."""

import io
import json
import multiprocessing
import os
import resource
import shutil
import struct
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from helpers import saver
from helpers.apart import run_apart
from helpers.commands import command, error_line, use_tiny_files

from lightmodels.checkpointing.files import CheckpointError, link_checkpoint, load_checkpoint, save_checkpoint
from lightmodels.cli import train
from lightmodels.cli.train_flags import parse
from lightmodels.trainer.run_directory import RunDirectoryError, claim_next, probe

SMALL = ("--max_epochs", "1", "--data.num_rows", "200", "--data.test_rows", "50")
LAST, BEST = Path("run/checkpoints/last.ckpt"), Path("run/checkpoints/best.ckpt")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of one small run, for all tests here."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    train.main(parse([*SMALL, "--run_dir", str(run_dir)]))
    return run_dir


@pytest.fixture
def run(finished):
    """A copy of the finished run in ``run``, where best and last are files of their own."""
    return Path(shutil.copytree(finished, "run"))


def contents(directory: str | Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(directory).rglob("*") if path.is_file()}


# Kills while saving


@pytest.fixture
def elsewhere(tmp_path):
    """A temporary directory on another file system, if there is one: files cannot be renamed from there."""
    memory = Path("/dev/shm")
    is_other = os.access(memory, os.W_OK) and memory.stat().st_dev != tmp_path.stat().st_dev
    with tempfile.TemporaryDirectory(dir=memory if is_other else tmp_path) as directory:
        yield Path(directory)


@pytest.mark.parametrize("rounds", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_while_saving_leaves_a_complete_checkpoint_that_is_not_older(elsewhere, rounds, monkeypatch):
    Path("checkpoints").mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    ended = run_apart(saver.__file__, "checkpoints", rounds)
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert len(found) == rounds
    for one in found:
        assert one["values"] == [one["counter"]]
        assert one["size"] == 250_000
        assert one["counter"] - one["said"] in (0, 1)  # saved, and perhaps not yet reported
        assert one["swept"] == ["last.ckpt"]
    interrupted = [one["left"][0] for one in found if one["left"]]  # sizes of temporary files
    assert len(interrupted) > rounds / 10, "too few kills happened while a file was being written"
    assert not list(elsewhere.iterdir())


# Damaged checkpoints


def entry_position(content: bytes, end_of_name: str) -> int:
    """The position of a byte in the middle of an archive's entry."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = next(entry for entry in archive.infolist() if entry.filename.endswith(end_of_name))
    names = struct.unpack_from("<HH", content, entry.header_offset + 26)
    return entry.header_offset + 30 + sum(names) + entry.compress_size // 2


def directory_position(content: bytes) -> int:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.start_dir


def flip(content: bytes, at: int, bits: int = 0xFF) -> bytes:
    at %= len(content)
    return content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :]


FILE = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "cut at 10 %": lambda content: content[: len(content) // 10],
    "cut at 50 %": lambda content: content[: len(content) // 2],
    "cut at 99 %": lambda content: content[: len(content) * 99 // 100],
    "garbage": lambda content: os.urandom(len(content)),
}
CHECKPOINT = FILE | {
    "a byte of a tensor": lambda content: flip(content, entry_position(content, "/data/0")),
    "a byte of the pickle": lambda content: flip(content, entry_position(content, "/data.pkl")),
    "a checksum in the directory": lambda content: flip(content, directory_position(content) + 16),
    "a method in the directory": lambda content: flip(content, directory_position(content) + 10, 8),
}
COMMANDS = {
    "evaluate --ckpt": ("evaluate", "--ckpt", LAST),
    "train --resume": ("train", "--resume", LAST),
    "train --resume last": ("train", "--resume", "last", "--run_dir", "run"),
}


def damage(path: str | Path, how) -> None:
    content = how(Path(path).read_bytes())
    if content is None:
        Path(path).unlink()
    else:
        Path(path).write_bytes(content)


@pytest.mark.parametrize("how", CHECKPOINT)
@pytest.mark.parametrize("argv", COMMANDS.values(), ids=COMMANDS)
def test_a_damaged_checkpoint_is_named_with_an_intact_one(capfd, run, argv, how):
    damage(LAST, CHECKPOINT[how])
    before = contents(run)
    told = error_line(command(capfd, *argv))
    assert told.startswith(f"{argv[0]}.py: {argv[1]} ")
    assert str(LAST) in told
    if how != "missing":
        assert "the checkpoint is damaged (" in told
        assert told.endswith(f"; the newest usable one there is {BEST}")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("asked", "damaged", "advice"),
    [
        (BEST, [BEST], f"; the newest usable one there is {LAST}"),
        (LAST, [LAST, BEST], "; the newest usable one there is run/checkpoints/older.ckpt"),
        (LAST, [LAST, BEST, Path("run/checkpoints/older.ckpt")], ")"),
    ],
)
def test_the_newest_intact_file_is_suggested(run, asked, damaged, advice):
    shutil.copy(LAST, "run/checkpoints/older.ckpt")
    os.utime("run/checkpoints/older.ckpt", (1, 1))
    Path("run/checkpoints/folder.ckpt").mkdir()
    Path("run/checkpoints/to nowhere.ckpt").symlink_to("nowhere")
    for path in damaged:
        damage(path, CHECKPOINT["a byte of a tensor"])
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(asked)
    assert str(raised.value).endswith(advice)


def test_no_flipped_bit_is_ever_loaded_as_something_else():
    """The archive's directory matters most: it has no checksum, and torch reads it in its own way."""
    weight = torch.arange(20.0)
    save_checkpoint({"state_dict": {"weight": weight}, "rate": 0.1}, "model.ckpt")
    whole = Path("model.ckpt").read_bytes()
    start = directory_position(whole)
    places = [(at, 1 << at % 8) for at in range(start)]
    places += [(at, 1 << bit) for at in range(start, len(whole)) for bit in range(8)]
    refused = 0
    with Path("model.ckpt").open("r+b", buffering=0) as file:
        for at, bits in places:
            os.pwrite(file.fileno(), bytes([whole[at] ^ bits]), at)
            try:
                loaded = load_checkpoint("model.ckpt")
            except CheckpointError:
                refused += 1
            else:
                assert torch.equal(loaded["state_dict"]["weight"], weight), (at, bits)
                assert loaded["rate"] == 0.1
            os.pwrite(file.fileno(), whole[at : at + 1], at)
    assert refused > len(places) / 4


# Damaged data

GZ = FILE | {
    "a byte of the header": lambda content: flip(content, 0),
    "a byte of the data": lambda content: flip(content, len(content) // 2),
    "a byte of the checksum": lambda content: flip(content, -6),
}
NPZ = FILE | {
    "a byte of the texts": lambda content: flip(content, entry_position(content, "x.npy")),
    "a byte of the topics": lambda content: flip(content, entry_position(content, "y.npy")),
    "a byte of the directory": lambda content: flip(content, directory_position(content) + 16),
}
IMAGES, TEXTS = "MNIST/raw/train-images-idx3-ubyte.gz", "reuters/reuters.npz"
DATA = {f"mnist {what}": ("mnist", IMAGES, how) for what, how in GZ.items()}
DATA |= {f"reuters {what}": ("reuters", TEXTS, how) for what, how in NPZ.items()}


@pytest.mark.parametrize(("task", "name", "how"), DATA.values(), ids=DATA)
def test_damaged_data_are_named(capfd, monkeypatch, task, name, how):
    use_tiny_files(monkeypatch, "files")
    monkeypatch.setattr("lightmodels.data.remote_files.SCHEMES", ())  # no downloads
    monkeypatch.setattr("lightmodels.data.remote_files.PAUSES", (0.0,))
    damage(Path("files", name), how)
    before = contents("files")
    assert name in error_line(command(capfd, "train", "--task", task, "--data_dir", "files"))
    assert contents("files") == before
    assert not Path("runs").exists()


# Disks that are full


FULL_DISK = """
import resource
from lightmodels.cli.main import program

resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
program("train")
"""


def test_a_full_disk_keeps_the_old_checkpoint(capfd, run):
    before, limit = contents(run / "checkpoints"), LAST.stat().st_size // 2
    more = ("--resume", "last", "--run_dir", "run", "--max_epochs", "2")
    Path("train.py").write_text(FULL_DISK.format(limit=limit))
    (line,) = run_apart("train.py", *more, code=1).err.splitlines()
    assert line.startswith("train.py: run/checkpoints/")
    assert "t.ckpt: the checkpoint cannot be written ([Errno 27] File too large)" in line
    assert contents(run / "checkpoints") == before
    assert len(load_checkpoint(LAST)["history"]["rows"]) == 1
    assert command(capfd, "train", *more).code == 0
    assert len(load_checkpoint(LAST)["history"]["rows"]) == 2


@contextmanager
def limited(size):
    """Limits the size of this process's files, as if the disk were full (pytest's output too: be brief)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_whose_results_cannot_be_written_fails(capfd, run):
    (run / "metrics.json").unlink()
    (run / "metrics.json").mkdir()
    ended = command(capfd, "train", "--resume", "last", "--run_dir", "run", "--max_epochs", 2)
    assert (ended.code, ended.err) == (1, "train.py: run: cannot be written to (Is a directory)\n")
    assert len(load_checkpoint(LAST)["history"]["rows"]) == 2


def test_figures_that_cannot_be_written_are_warnings(capfd, run):
    shutil.rmtree(run / "figures")
    (run / "figures").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="figure 'classes' could not be drawn: .* File exists"):
        ended = command(capfd, "train", "--resume", "last", "--run_dir", "run", "--max_epochs", 2)
    assert ended.code == 0
    assert len(load_checkpoint(LAST)["history"]["rows"]) == 2


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_a_failed_save_reports_the_reason_of_the_disk(share):
    state = {"state_dict": {name: torch.rand(9000) for name in "abc"}}
    save_checkpoint(state, "model.ckpt")
    before = contents(".")
    size, message = Path("model.ckpt").stat().st_size, r"model.ckpt: .* cannot be written \(.Errno 27. File"
    with pytest.raises(CheckpointError, match=message), limited(int(share * size)):
        save_checkpoint(state, "model.ckpt")
    assert contents(".") == before


def test_a_failed_link_names_its_path():
    save_checkpoint({"state_dict": {}}, "best.ckpt")
    before = contents(".")
    with pytest.raises(CheckpointError, match=r"^best.ckpt: the checkpoint cannot be written"):
        link_checkpoint(Path("none.ckpt"), Path("best.ckpt"))
    assert contents(".") == before


# Run directories


def test_four_processes_at_once_claim_four_directories(monkeypatch):
    """They wait for each other once all have seen that no number is taken."""
    processes, mkdir, waited = multiprocessing.get_context("fork"), Path.mkdir, []
    barrier = processes.Barrier(4)

    def wait_and_make(path, *args, **options):
        if not waited:  # in each process of its own
            waited.append(barrier.wait(300))
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", wait_and_make)
    with processes.Pool(4) as pool:
        claimed = pool.map(claim_next, [Path("runs")] * 4, chunksize=1)
    assert sorted(claimed) == [Path(f"runs/{number}") for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("run_dir", ["file/run", "file/deeper/run", "to nowhere/run", None])
def test_an_impossible_run_directory_is_reported_before_data_is_loaded(capfd, monkeypatch, run_dir):
    monkeypatch.setattr("lightmodels.data.remote_files.SCHEMES", ())
    Path("file").touch()
    Path("runs").touch()  # in the way of the default, runs/mnist/1
    Path("to nowhere").symlink_to("nowhere")
    place = ["--run_dir", run_dir] if run_dir else []
    told = error_line(command(capfd, "train", "--task", "mnist", "--data_dir", "no data here", *place))
    assert told == f"train.py: {run_dir or 'runs/mnist'}: cannot create the run directory (Not a directory)"


@pytest.fixture
def no_root(tmp_path):
    """Drops the rights of root, who may write everywhere."""
    tmp_path.chmod(0o755)
    if os.geteuid() != 0:
        yield lambda: None
        return
    yield lambda: os.setresuid(65534, 65534, 0)
    os.setresuid(0, 0, 0)


def test_an_unwritable_directory_is_reported(no_root):
    for name, mode in (("open", 0o777), ("locked", 0o555), ("closed", 0o000)):
        Path(name).mkdir()
        Path(name).chmod(mode)
    no_root()
    probe(Path("open/a/run"))
    for run_dir in ("locked", "locked/run", "locked/a/run", "closed/a/run"):
        with pytest.raises(RunDirectoryError, match=rf"^{run_dir}: cannot create .* \(Permission denied\)"):
            probe(Path(run_dir))
    assert not list(Path("open").iterdir())
