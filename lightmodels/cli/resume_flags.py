"""Which run ``--resume`` goes on with, whether what is typed fits it, and what other runs may not take."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.cli import torchrun_restart
from lightmodels.cli.exit_codes import UsageError
from lightmodels.trainer import run_directory
from lightmodels.utils import distributed

FREE = (
    "max_epochs",
    "seeds",
    "data_dir",
    "save_every_n_steps",
    "gpus",
    "tpu_cores",
    "run_dir",
    "resume",
    "config",
    "override",
    "histograms",
    "summary",
    "quiet",
    "verbose",
)
FREE_TRAINER = (
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "max_time",
    "patience",
    "profiler",
    "figures",
)


def find_checkpoint(resume: str, run_dir: str | None, task: str) -> Path:
    """The checkpoint that ``--resume`` means; its run's directory holds ``config.yaml``.

    Args:
        resume: a path, or ``last`` for ``last.ckpt`` of ``run_dir``, or else of the task's newest run.
        run_dir: the run's directory, if it was typed.
        task: the task, for the default place of runs.

    Raises:
        UsageError: nothing to resume there, or a file that cannot be read.
    """
    if resume == "last":
        directory = Path(run_dir) if run_dir else newest_run(Path("runs") / task)
        path = directory / "checkpoints" / "last.ckpt"
    else:
        path = Path(resume)
        if run_dir and Path(run_dir).absolute() != path.absolute().parent.parent:
            raise UsageError(f"--run_dir {run_dir} is not the run of --resume {resume}: leave it out")
    if not path.is_file():
        raise UsageError(f"--resume {resume}: nothing to resume, there is no {path}")
    if not (path.parent.parent / "config.yaml").is_file():
        raise UsageError(f"--resume {resume}: {path} lies in no run directory, one with a config.yaml")
    try:
        checkpoint_files.load_checkpoint(path)
    except checkpoint_files.CheckpointError as error:
        raise UsageError(f"--resume {error}") from error
    return path


def parse_resumed(parser: ArgumentParser, argv: Sequence[str], checkpoint: Path) -> Namespace:
    """The options of the checkpoint's run, with those on the command line over them."""
    run_dir = checkpoint.parent.parent
    config = ["--config", str(run_dir / "config.yaml")]
    options, saved = parser.parse_args([*config, *argv]), parser.parse_args(config)
    if options.task != saved.task:
        raise UsageError(f"--task {options.task}: the run to resume is one of {saved.task}")
    if not options.override:
        refuse_conflicts(saved, options)
    done = len(checkpoint_files.load_checkpoint(checkpoint)["history"]["rows"])
    finished = options.max_epochs <= done and (run_dir / "metrics.json").exists()  # else the test is to do
    if finished and distributed.rank() == 0 and not torchrun_restart.is_ours(run_dir):
        raise UsageError(
            f"--resume {options.resume}: {done} epochs are done, raise --max_epochs {options.max_epochs}"
        )
    options.resume, options.run_dir = str(checkpoint), str(run_dir)
    return options


def newest_run(parent: Path) -> Path:
    numbers = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    if not numbers:
        raise UsageError(f"--resume last: nothing to resume, there is no run in {parent}")
    return parent / str(max(numbers))


def refuse_conflicts(saved: Namespace, options: Namespace) -> None:
    """Raises UsageError, with old and new values, if options differ that the run's course depends on."""
    before, now = flat(saved), flat(options)
    conflicts = [
        f"--{name} was {before.get(name)}, now {value}"
        for name, value in now.items()
        if value != before.get(name) and not is_free(name)
    ]
    if conflicts:
        raise UsageError(f"{'; '.join(conflicts)}: leave out, or add --override to go on with what is new")


def is_free(name: str) -> bool:
    group, _, rest = name.partition(".")
    return name in FREE or (group == "trainer" and rest in FREE_TRAINER)


def flat(options: Namespace) -> dict[str, Any]:
    """Every option under its dotted name."""
    return dict(options.items())


def probe(options: Namespace) -> None:
    """Finds out before any data is loaded or fetched whether the run can have its directory."""
    run_dir = Path(options.run_dir or f"runs/{options.task}")
    if options.run_dir and not options.resume:
        if torchrun_restart.is_ours(run_dir):  # torchrun has restarted the command before it saved anything
            shutil.rmtree(run_dir, ignore_errors=True)
        run_directory.refuse_used(run_dir)
    run_directory.probe(run_dir)


def record(run_dir: Path, config: str) -> None:
    """Writes config.yaml, and notes for a restart by torchrun that the run directory is this job's."""
    torchrun_restart.note(run_dir)
    temporary = run_dir / ".config.yaml.tmp"
    temporary.write_text(config, encoding="utf-8")
    temporary.replace(run_dir / "config.yaml")  # whole, as other processes may be reading it
