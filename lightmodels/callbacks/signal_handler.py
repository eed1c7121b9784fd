"""SignalHandler: SIGTERM and Ctrl-C end training after the batch under way, with its state saved."""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn

from lightmodels.callbacks.best_and_last import BestAndLastCheckpoint
from lightmodels.utils import lightning_internals

DEADLINE = 30.0  # seconds after the signal, the time that SLURM and Kubernetes leave


class TrainingInterrupted(Exception):
    """Training was stopped by a signal; ``signum`` says by which."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class SignalHandler(pl.Callback):
    """Stops training within one batch of SIGTERM or Ctrl-C, on all processes at the same step.

    The state is saved as ``last.ckpt`` first, so that a resumed run is the one that was not
    stopped. A signal during the validation that ends an epoch takes effect when that is over. A
    second Ctrl-C aborts at once, and a process that has not ended 30 seconds after a signal, because
    a peer is gone, say, is ended hard.

    Args:
        checkpoint: what saves the state; by default nothing does.
    """

    runs_every_step = True  # also inside an execution of several steps, as a signal cannot wait
    runs_between_compiled_steps = False  # inside a graph it has to

    def __init__(self, checkpoint: BestAndLastCheckpoint | None = None) -> None:
        self._checkpoint = checkpoint
        self._received = 0  # the signal that this process has received
        self._agreed = 0  # and the one that all processes know of
        self._stops_before_next_batch = False
        self._handlers: dict[int, Any] = {}
        self._timer: threading.Timer | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._received, self._stops_before_next_batch = 0, False
        if self._checkpoint is not None:
            self._checkpoint.ends = self._checkpoint.save_pending = False
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._handlers[signum] = signal.signal(signum, self._receive)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = signum
        if self._checkpoint is not None:
            self._checkpoint.ends = True
        if self._timer is None:
            self._timer = threading.Timer(DEADLINE, os._exit, (128 + signum,))
            self._timer.daemon = True
            self._timer.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (
            self._all_stop(trainer)
            and not trainer.is_last_batch
            and not lightning_internals.validation_follows(trainer)
        ):
            self._save(trainer)
            self._stop(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        inside_an_epoch = trainer.state.fn == TrainerFn.FITTING and not trainer.is_last_batch
        if inside_an_epoch and not trainer.sanity_checking and self._all_stop(trainer):
            self._save(trainer)
            self._stops_before_next_batch = True  # when the model is no longer in evaluation mode

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._stops_before_next_batch:
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        saved = (
            self._checkpoint is None or not self._checkpoint.save_pending
        )  # else the next step's end saves
        if self._all_stop(trainer) and saved:
            self._stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._all_stop(trainer):
            self._stop(trainer)
        self._release()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._release()

    def _all_stop(self, trainer: pl.Trainer) -> bool:
        """Whether any process had received a signal when all of them were asked."""
        signum = self._received  # once: a signal may come at any moment, and all must agree
        if trainer.world_size > 1:
            known = torch.tensor(signum, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(known, torch.distributed.ReduceOp.MAX)
            signum = int(known)
        self._agreed = signum
        return signum > 0

    def _save(self, trainer: pl.Trainer) -> None:
        if self._checkpoint is not None:
            self._checkpoint.save_last(trainer)
            self._checkpoint.wait()  # a save that fails is to be told

    def _stop(self, trainer: pl.Trainer) -> None:
        # Lightning would kill this process when it sees those that it launched end.
        getattr(trainer.strategy.launcher, "procs", []).clear()
        raise TrainingInterrupted(self._agreed)

    def _release(self) -> None:
        """Puts back the handlers; the deadline stays where other processes may never answer."""
        for signum, handler in self._handlers.items():
            with suppress(ValueError):
                signal.signal(signum, handler)
        self._handlers = {}
        if self._timer is not None and not torch.distributed.is_initialized():
            self._timer.cancel()
            self._timer = None
