"""The phases of a job, timed from the inside: ``python -m benchmarks.phases predict --ckpt best.ckpt row.csv``."""

import atexit
import functools
import importlib
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightmodels.cli.exit_codes import quick_end

IMPORTS = ("torch", "torchmetrics", "pytorch_lightning")  # in this order, each without those before it
LOOP = "lightmodels.loops.fast_training_loop:TrainingEpochLoop.advance"
VISUALIZATION = "lightmodels.visualization"
FIGURES, BOARD = f"{VISUALIZATION}.figure_callback:FigureLogger", f"{VISUALIZATION}.tensorboard_callback"
CHECKPOINT = "lightmodels.callbacks.best_and_last:BestAndLastCheckpoint"
FUNCTIONS = {  # by command: the functions whose calls are a phase, less what they call of other phases
    "train": {
        "flags": ["lightmodels.cli.train_flags:parse", "lightmodels.cli.train:check_model_flags"],
        "data": ["lightmodels.cli.train:make_data"],
        "model": ["lightmodels.cli.train:make_model"],
        "trainer": ["lightmodels.cli.train:make_trainer", "lightmodels.trainer.trainer:Trainer.open_run"],
        "fit, the rest": ["lightmodels.cli.train:fit"],
        "training steps": [LOOP],
        "validation": ["lightmodels.loops.fast_validation_loop:EvaluationLoop.run"],
        "figures": [f"{FIGURES}.{name}" for name in ("on_train_epoch_start", "on_train_end")],
        "TensorBoard": [
            *(
                f"{BOARD}:TensorBoardCallback.{hook}"
                for hook in ("on_train_start", "on_train_epoch_start", "on_fit_end")
            ),
            *(f"{VISUALIZATION}.loggers:EpochTensorBoardLogger.{name}" for name in ("log_metrics", "finalize")),
        ],
        "checkpoints": [f"{CHECKPOINT}.{hook}" for hook in ("on_validation_end", "on_train_epoch_end", "on_train_end")],
        "test": ["lightmodels.trainer.trainer:Trainer.test"],
        "report": ["lightmodels.cli.run_report:report_on_test"],
    },
    "predict": {
        "checkpoint": ["lightmodels.cli.predict:load_model"],
        "prediction": ["lightmodels.cli.predict:predict"],
    },
}


class Clock:
    """Seconds by phase since the process began; a phase inside another one counts alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # since boot, of Linux
        self.running, self.last = ["interpreter"], ticks / os.sysconf("SC_CLK_TCK")

    def switch(self, phase: str) -> None:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.seconds[self.running[-1]] += now - self.last
        self.last = now
        self.running.append(phase)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.switch(name)
        try:
            yield
        finally:
            self.switch("")
            del self.running[-2:]

    def watch(self, path: str, phase: str) -> None:
        """Counts the calls of ``module:function`` or ``module:class.method`` as a phase."""
        module, _, name = path.partition(":")
        *owners, name = name.split(".")
        owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            first = path == LOOP and "first step" not in self.seconds
            with self.phase("first step" if first else phase):
                return function(*args, **kwargs)

        setattr(owner, name, timed)


def main(command: str, *argv: str) -> None:
    """Runs a command of lightmodels; writes the seconds of each phase to ``result.json`` at its end."""
    clock = Clock()
    clock.switch("other")
    importlib.import_module("lightmodels")
    for name in IMPORTS:
        with clock.phase(f"import {name}"):
            importlib.import_module(name)
    with clock.phase("import lightmodels"):
        importlib.import_module(f"lightmodels.cli.{command}")
    for phase, paths in FUNCTIONS[command].items():
        for path in paths:
            clock.watch(path, phase)
    sys.argv = [f"{command}.py", *argv]
    with quick_end():
        atexit.register(finish, clock)  # runs after the other handlers that are there so far
        importlib.import_module("lightmodels.cli.main").run_command(command)


def finish(clock: Clock) -> None:
    clock.switch("end")
    Path("result.json").write_text(json.dumps(clock.seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
