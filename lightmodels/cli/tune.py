"""Searches the hyper-parameters of a task: lightmodels tune --task ring --trials 20 --model.lr 1e-4..1e-1"""

import argparse
import copy
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from jsonargparse import Namespace

from lightmodels.cli import resume_flags
from lightmodels.cli.exit_codes import TERMINATED, UsageError, command_name, exit_with_message, flag_errors
from lightmodels.cli.run_report import write_errors
from lightmodels.cli.train import make_data, make_model, make_trainer, remove_run, trainer_errors
from lightmodels.cli.train_flags import NOT_SAVED, Parser, dump_config, parse
from lightmodels.cli.tune_flags import first_values, to_flags
from lightmodels.data.tensor_datamodule import TensorDataModule
from lightmodels.tuning.space import Space
from lightmodels.tuning.study import (
    TrialReport,
    TuningResult,
    claim_directory,
    finished,
    fit_trial,
    local_storage,
    open_study,
    outcome,
    run_trials,
    table,
)
from lightmodels.tuning.tune import print_trial
from lightmodels.utils import console
from lightmodels.utils.atomic_file import write_file

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

CHANGEABLE = {*resume_flags.CHANGEABLE, *NOT_SAVED} - {"max_epochs", "trainer.patience"}  # when a study continues


def main(parsed: tuple[argparse.Namespace, Sequence[str], Space]) -> None:
    """Runs the trials of a study; ``parsed`` is what ``tune_flags.parse`` gives."""
    own, fixed, space = parsed
    options, parser = parse([*fixed, *to_flags(first_values(space))])
    with console.verbosity("quiet" if options.quiet else "normal"):
        Tuning(own, fixed, space, options, parser).run()


class Tuning:
    """A study of a task: its directory, its data, and the flags that its trials share."""

    def __init__(self, own: Any, fixed: Sequence[str], space: Space, options: Namespace, parser: Parser) -> None:
        self.own, self.fixed, self.space = own, fixed, space
        self.options, self.parser = options, parser
        self.monitor = options.trainer.monitor or "val_loss"
        self.data: TensorDataModule | None = None  # unless its flags are searched
        self.run_dir = Path()

    def run(self) -> None:
        """Runs the trials, prints the best ones, and leaves the configuration of the best."""
        if not any(name.startswith("data.") for name in self.space):
            self.data = make_data(self.options)
        self.run_dir = claim_directory(self._given_dir(), Path("runs") / f"tune-{self.options.task}")
        is_new = not any((self.run_dir / "trials").iterdir())
        try:
            result = self._run_trials()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted; {self._how_to_continue()}") from None
        except SystemExit as stop:
            if stop.code == TERMINATED:
                exit_with_message(TERMINATED, f"terminated; {self._how_to_continue()}")
            raise
        except UsageError:
            if is_new:
                remove_run(self.run_dir)
            raise
        if not result.trials:
            raise FloatingPointError(f"none of {self.own.trials} trials was completed: search other values")
        self._write_config(result)
        print(self._summary(result), flush=True)

    def _run_trials(self) -> TuningResult:
        result = TuningResult(self._open_study(), self.space)
        if console.current_verbosity() != "quiet":
            print(self._headline(len(finished(result.study))), flush=True)

        def report(trial: "FrozenTrial") -> None:
            print_trial(trial, self.monitor)
            if result.trials and result.trials[0].number == trial.number:
                self._write_config(result)

        run_trials(result.study, self.own.trials, self.space, self._train, report)
        return result

    def _headline(self, done: int) -> str:
        rows = "" if self.data is None else f" on {len(self.data.splits.val[0]):,} validation rows"
        trials = f"{self.own.trials} trials" + (f", of which {done} are done" if done else "")
        return f"{self.options.task}: {trials}, compared by {self.monitor}{rows}; the test rows are not used"

    def _given_dir(self) -> Path | None:
        return Path(self.options.run_dir) if self.options.run_dir else None

    def _how_to_continue(self) -> str:
        return f"the study is saved: to continue it, repeat the command with --run_dir {self.run_dir}"

    def _open_study(self) -> "Study":
        """The study; raises UsageError if its trials had other flags."""
        storage, name = self.own.storage or local_storage(self.run_dir), self.own.study or self.options.task
        seed = None if self.own.storage else self.options.seed
        with flag_errors("--", ["storage", "study"]), flag_errors("--trainer.", ["monitor"]):
            study = open_study(storage, name, self.monitor, self.options.trainer.mode, seed)
        settings = {name: str(value) for name, value in self.options.items() if name not in CHANGEABLE}
        settings |= {name: repr(part) for name, part in self.space.items()}
        before = study.user_attrs.get("settings", settings)
        if changed := [name for name in {**before, **settings} if before.get(name) != settings.get(name)]:
            was, now = before.get(changed[0]), settings.get(changed[0])
            raise UsageError(
                f"--{changed[0]} was {was} in this study, now {now}: restore the value, or start a new study"
            )
        study.set_user_attr("settings", settings)
        return study

    def _train(self, trial: "Trial", params: dict[str, Any]) -> float | None:
        options, parser = parse([*self.fixed, *to_flags(params)])
        options.run_dir = str(self.run_dir / "trials" / str(trial.number))
        options.trainer.figures = options.trainer.enable_checkpointing = options.trainer.restore_best_weights = False
        report = TrialReport(trial, self.monitor)
        trainer = make_trainer(options, parser, [report])
        if trainer.world_size > 1:
            raise UsageError("--gpus: a trial trains on one device; run one process per device, with --storage")
        data = make_data(options) if self.data is None else copy.copy(self.data)
        pl.seed_everything(options.seed, verbose=False)
        model = make_model(options, parser, data)
        with console.verbosity("normal" if options.verbose else "quiet"), trainer_errors(["monitor"], trainer):
            return fit_trial(trainer, model, data, report)

    def _write_config(self, result: TuningResult) -> None:
        """Writes ``config.yaml``, the options of the best trial."""
        options, parser = parse([*self.fixed, *to_flags(result.best_params)])
        with write_errors(self.run_dir):
            write_file(self.run_dir / "config.yaml", dump_config(parser, options))

    def _summary(self, result: TuningResult) -> str:
        view = f"tensorboard --logdir {shlex.quote(str(self.run_dir))}"
        config, train = self.run_dir / "config.yaml", command_name().replace("tune", "train")
        ended = Counter(outcome(trial, self.monitor).split()[0] for trial in finished(result.study))
        complete = f"{len(result.trials)} complete, {ended['pruned']} pruned, {ended['failed:']} failed"
        return "\n".join([
            complete,
            table(result, self.monitor),
            f"{console.printable(str(self.run_dir))}: study.db, trials, config.yaml of trial {result.trials[0].number}",
            *([view] if self.options.logger == "tensorboard" else []),
            f"{train} --config {shlex.quote(str(config))}",
        ])  # fmt: skip
