"""What a Trainer gets back from processes that it has spawned or forked, as with ``ddp_spawn`` and ``ddp_notebook``."""

import io
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from lightmodels.checkpointing.plain_data import to_plain


def return_results(launcher: Any, checkpoint: Any, signals: Any) -> None:
    """Makes a launcher return history, best epoch and step, too; Lightning's returns weights and metrics only.

    Launchers of other kinds, whose first process is this one, are left as they are.
    """
    if hasattr(launcher, "get_extra_results"):
        launcher.get_extra_results = partial(_collect, launcher, checkpoint, signals)
        launcher.update_main_process_results = partial(_restore, launcher, checkpoint, signals)


def _collect(launcher: Any, checkpoint: Any, signals: Any, trainer: pl.Trainer) -> dict[str, Any]:
    model: Any = trainer.lightning_module
    ours = {
        "history": model.history.state_dict() if hasattr(model, "history") else None,
        "data_info": getattr(model, "data_info", None),
        "checkpoint": checkpoint.state_dict(),
        "first_step": signals.first_step,
        "loops": trainer.fit_loop.state_dict(),
    }
    content = io.BytesIO()  # a queue would send tensors by names of files, which end with this process
    torch.save(to_plain(ours), content)
    return {**type(launcher).get_extra_results(launcher, trainer), "ours": content.getvalue()}


def _restore(launcher: Any, checkpoint: Any, signals: Any, trainer: pl.Trainer, extra: dict[str, Any]) -> None:
    type(launcher).update_main_process_results(launcher, trainer, extra)
    model: Any = trainer.lightning_module
    ours = torch.load(io.BytesIO(extra["ours"]), weights_only=True)
    if ours["first_step"] is None:
        return  # it was no fit
    if ours["history"] is not None:
        model.history.load_state_dict(ours["history"])
        model.data_info = ours["data_info"]
    checkpoint.load_state_dict(ours["checkpoint"])
    signals.first_step = ours["first_step"]
    trainer.fit_loop.load_state_dict(ours["loops"])
