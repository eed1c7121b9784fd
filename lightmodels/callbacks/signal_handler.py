"""SignalHandler: stops training on SIGTERM or Ctrl-C after the current batch, with its state saved."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightmodels.callbacks.best_and_last import BestAndLastCheckpoint
from lightmodels.utils import lightning_internals

DEADLINE = 30.0  # seconds between SIGTERM and SIGKILL, by default, in SLURM and Kubernetes


class TrainingInterrupted(KeyboardInterrupt):
    """Training was interrupted by Ctrl-C, with its state saved; Lightning turns it into ``SystemExit(1)``."""


class SignalHandler(pl.Callback):
    """Stops training after the current batch on SIGTERM or Ctrl-C, on all processes at the same step.

    ``checkpoint``, if any, saves the state as ``last.ckpt`` first, so that a resumed run continues exactly. A signal
    during the validation at the end of an epoch takes effect after it. A second Ctrl-C aborts at once. A process that
    has not ended 30 seconds after the signal, as it may wait for a dead peer, is killed; not so by Ctrl-C if it is the
    only one, such as a notebook's kernel. As in Lightning, ``on_exception`` of callbacks receives a KeyboardInterrupt
    for Ctrl-C, and a SIGTERMException for SIGTERM.
    """

    runs_every_step = True  # also inside an execution of several steps, as a signal cannot wait
    runs_between_compiled_steps = False  # inside a graph it has to

    def __init__(self, checkpoint: BestAndLastCheckpoint | None = None) -> None:
        self._checkpoint = checkpoint
        self._received = self._stop_before_next_batch = 0  # signals: the one received, the one to stop for
        self.user_handlers: dict[int, Any] = {}  # of before the fit, which are called once the state is saved
        self.first_step: int | None = None  # at which training began
        self._old_handlers: dict[int, Any] = {}
        self._kill_timer: threading.Timer | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._received = self._stop_before_next_batch = 0
        self.first_step = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._old_handlers[signum] = signal.signal(signum, self._receive)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = signum
        may_wait = signum == signal.SIGTERM or torch.distributed.is_initialized()
        if self._kill_timer is None and may_wait:
            self._kill_timer = threading.Timer(DEADLINE, os._exit, (128 + signum,))
            self._kill_timer.daemon = True
            self._kill_timer.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        signum = self._received_anywhere(trainer)
        if signum and not trainer.is_last_batch and not lightning_internals.validation_follows(trainer):
            self._save(trainer)
            self._stop(trainer, signum)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        inside_epoch = trainer.state.fn == TrainerFn.FITTING and not trainer.is_last_batch
        if inside_epoch and not trainer.sanity_checking and (signum := self._received_anywhere(trainer)):
            self._save(trainer)
            self._stop_before_next_batch = signum  # not yet: the model is still in evaluation mode

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self._stop_before_next_batch:
            self._stop(trainer, self._stop_before_next_batch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        save_pending = self._checkpoint is not None and self._checkpoint.save_pending
        if (signum := self._received_anywhere(trainer)) and not save_pending:  # else the next step saves and stops
            self._stop(trainer, signum)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if signum := self._received_anywhere(trainer):
            self._stop(trainer, signum)
        self._restore_handlers()

    def on_exception(self, *_: Any) -> None:
        self._restore_handlers()

    def _received_anywhere(self, trainer: pl.Trainer) -> int:
        """The signal that some process has received, the same on every process; 0 for none."""
        received = self._received  # read once: a signal may arrive at any moment
        if trainer.world_size == 1:
            return received
        highest = torch.tensor(received, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX)
        return int(highest)

    def _save(self, trainer: pl.Trainer) -> None:
        if self._checkpoint is not None:
            self._checkpoint.save_last(trainer)
            self._checkpoint.wait()  # raises if the checkpoint could not be written

    def _stop(self, trainer: pl.Trainer, signum: int) -> None:
        # Otherwise Lightning would kill this process when the processes that it has launched end.
        getattr(trainer.strategy.launcher, "procs", []).clear()
        handler = self.user_handlers.get(signum)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(signum, None)
        if signum == signal.SIGINT:
            raise TrainingInterrupted("interrupted by SIGINT")
        raise SIGTERMException(128 + signum)

    def _restore_handlers(self) -> None:
        """Restores the handlers; the timer keeps running if other processes may never answer."""
        for signum, handler in self._old_handlers.items():
            signal.signal(signum, handler)
        self._old_handlers = {}
        if self._kill_timer is not None and not torch.distributed.is_initialized():
            self._kill_timer.cancel()
            self._kill_timer = None
