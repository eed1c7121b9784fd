"""What a Trainer shows of itself in a notebook."""

import html
from typing import Any

from lightmodels.core.summary import count_parameters
from lightmodels.visualization.tensorboard_callback import describe_data


def table(trainer: Any) -> str:
    """The device, and, once they are known, model, data, epochs and run directory, as an HTML table."""
    facts = _describe(trainer).items()
    lines = [f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts]
    return "\n".join(["<table>", *lines, "</table>"])


def _describe(trainer: Any) -> dict[str, str]:
    facts = {"devices": f"{trainer.world_size} x {trainer.strategy.root_device.type}, {trainer.precision}"}
    if (model := trainer.lightning_module) is not None:
        facts["model"] = f"{type(model).__name__}, {count_parameters(model):,} parameters"
    if (data := getattr(trainer, "datamodule", None)) is not None:
        facts["data"] = describe_data(data)
    limit = trainer.fit_loop.max_epochs
    facts["epochs"] = f"{trainer.current_epoch}" + (f" of {limit}" if limit is not None and limit >= 0 else "")
    facts["epochs"] += " (interrupted)" if trainer.interrupted else ""
    if trainer.best_epoch:
        checkpoint = trainer.checkpoint_callback
        facts["best epoch"] = f"{trainer.best_epoch}: {checkpoint.monitor or 'loss'} {checkpoint.best_score:.4g}"
    if trainer.run_dir is not None:
        facts["run directory"] = str(trainer.run_dir)
    return facts
