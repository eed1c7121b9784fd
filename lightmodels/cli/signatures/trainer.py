"""Flags of train from the constructors of the trainer, without PyTorch; written by make flags."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal


@dataclass(kw_only=True)
class TrainerFlags:
    monitor: str | None = None
    mode: Literal["min", "max"] | None = None
    patience: int | None = None
    restore_best_weights: bool = False
    figures: bool = True
    steps_per_execution: int | Literal["auto"] = 1
    compile: bool = False
    tf32: bool = False
    timeout: float = 600
    devices: list[int] | str | int = "auto"
    num_nodes: int = 1
    precision: (
        Literal[64, 32, 16]
        | Literal[
            "transformer-engine",
            "transformer-engine-float16",
            "16-true",
            "16-mixed",
            "bf16-true",
            "bf16-mixed",
            "32-true",
            "64-true",
        ]
        | Literal["64", "32", "16", "bf16"]
        | None
    ) = None
    fast_dev_run: int | bool = False
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: str | timedelta | dict[str, int] | None = None
    limit_train_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    limit_test_batches: int | float | None = None
    limit_predict_batches: int | float | None = None
    overfit_batches: int | float = 0.0
    val_check_interval: int | float | str | timedelta | dict[str, int] | None = None
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: int | None = None
    log_every_n_steps: int | None = None
    enable_checkpointing: bool | None = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = None
    accumulate_grad_batches: int = 1
    gradient_clip_val: int | float | None = None
    gradient_clip_algorithm: str | None = None
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    inference_mode: bool = True
    use_distributed_sampler: bool = True
    detect_anomaly: bool = False
    barebones: bool = False
    sync_batchnorm: bool = False
    reload_dataloaders_every_n_epochs: int = 0
    enable_autolog_hparams: bool = True
    model_registry: str | None = None
    accelerator: str = "auto"
    strategy: str = "auto"
    profiler: str | None = None
