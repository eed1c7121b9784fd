"""``--resume``: finds the run, checks that the flags fit it, and keeps other runs out of its directory."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lightmodels.cli import torchrun_restart
from lightmodels.cli.config_files import configured
from lightmodels.cli.exit_codes import UsageError, rank
from lightmodels.trainer import run_directory
from lightmodels.utils.fast_import import gc_paused

CHANGEABLE = (  # flags that may differ from those of the run that is resumed
    "max_epochs", "seeds", "data_dir", "save_every_n_steps", "gpus", "tpu_cores", "run_dir", "resume",
    "config", "override", "summary", "dry_run", "quiet", "verbose", "logger", "trainer.accelerator",
    "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.max_time", "trainer.patience",
    "trainer.profiler", "trainer.figures",
)  # fmt: skip


def find_checkpoint(resume: str, run_dir: str | None, task: str) -> Path:
    """The checkpoint that ``--resume`` names: a path, or ``last`` in ``run_dir`` or in the task's newest run.

    Raises UsageError if there is nothing to resume there, or a damaged file.
    """
    if resume == "last":
        directory = Path(run_dir) if run_dir else newest_run(Path("runs") / task)
        path = directory / "checkpoints" / "last.ckpt"
    else:
        path = Path(resume)
        if run_dir and Path(run_dir).absolute() != path.absolute().parent.parent:
            raise UsageError(f"--run_dir {run_dir} is not the run of --resume {resume}: leave it out")
    if not path.is_file():
        raise UsageError(f"--resume {resume}: nothing to resume, {path} is not a file")
    if not (path.parent.parent / "config.yaml").is_file():
        raise UsageError(f"--resume {resume}: {path} is not in a run directory (no config.yaml)")
    with gc_paused():  # for PyTorch, which flags of new runs need not
        from lightmodels.checkpointing import files as checkpoint_files
    try:
        checkpoint_files.load_checkpoint(path)
    except checkpoint_files.CheckpointError as error:
        raise UsageError(f"--resume {error}") from error
    return path


def newest_run(parent: Path) -> Path:
    numbers = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    if not numbers:
        raise UsageError(f"--resume last: nothing to resume, {parent} has no runs")
    return parent / str(max(numbers))


def parse_resumed(parser: ArgumentParser, argv: Sequence[str], checkpoint: Path) -> Namespace:
    """The options of the checkpoint's run, overridden by those on the command line."""
    from lightmodels.checkpointing import files as checkpoint_files

    run_dir = checkpoint.parent.parent
    config = ["--config", str(run_dir / "config.yaml")]
    configured(config[1])  # names a file that cannot be used
    options, saved = parser.parse_args([*config, *argv]), parser.parse_args(config)
    if options.task != saved.task:
        raise UsageError(f"--task {options.task}: the run to resume is of task {saved.task}")
    if not options.override:
        refuse_changes(saved, options)
    done = len(checkpoint_files.load_checkpoint(checkpoint)["history"]["rows"])
    finished = options.max_epochs <= done and (run_dir / "metrics.json").exists()  # else test it now
    if finished and rank() == 0 and not torchrun_restart.is_own_run(run_dir):
        raise UsageError(f"--resume {options.resume}: already trained for {done} epochs; pass --max_epochs > {done}")
    options.resume, options.run_dir = str(checkpoint), str(run_dir)
    return options


def refuse_changes(saved: Namespace, options: Namespace) -> None:
    """Raises UsageError, with old and new values, for changed options that affect the results."""
    before = dict(saved.items())
    changes = [
        f"--{name} was {before.get(name)}, now {value}"
        for name, value in options.items()
        if value != before.get(name) and name not in CHANGEABLE
    ]
    if changes:
        raise UsageError(f"{'; '.join(changes)}: leave out, or add --override to resume with the new values")


def check_run_dir(options: Namespace) -> None:
    """Raises RunDirectoryError, before any data is loaded, if the run directory cannot be used."""
    run_dir = Path(options.run_dir or f"runs/{options.task}")
    if options.run_dir and not options.resume:
        if torchrun_restart.is_own_run(run_dir):  # restarted by torchrun before anything was saved
            shutil.rmtree(run_dir, ignore_errors=True)
        run_directory.refuse_used(run_dir)
    run_directory.probe(run_dir)
