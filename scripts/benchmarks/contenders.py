"""Which contenders are compared, with which settings, and how far their losses may differ."""

from typing import NamedTuple

DEFAULT, ACCELERATED, FLOOR, FLOOR_KEPT = "default", "accelerated", "floor", "floor_kept"
PREDICT, BARE_IMPORT = "predict.py with one row", "import pytorch_lightning"
TRAIN_COMMAND = "benchmarks.lightning_loops:train_command"


class Contender(NamedTuple):
    """A loop that is compared. Contenders that require further packages are optional."""

    label: str
    loop: str  # module:function, see ``processes.train``
    requires: tuple[str, ...] = ()


CONTENDERS = {
    DEFAULT: Contender("lightmodels, default", TRAIN_COMMAND),
    ACCELERATED: Contender("lightmodels, accelerated", TRAIN_COMMAND),
    "lightning": Contender("plain Lightning", "benchmarks.lightning_loops:train_plain_lightning"),
    "hand": Contender("hand-written DataLoader loop", "benchmarks.plain:train_by_hand"),
    FLOOR: Contender("floor", "benchmarks.plain:train_floor"),
    FLOOR_KEPT: Contender("floor, freed buffers kept", "benchmarks.plain:train_floor_keeping_buffers"),
    "skorch": Contender("skorch", "benchmarks.torch_peers:train_skorch", ("skorch",)),
    "torchkeras": Contender("torchkeras", "benchmarks.torch_peers:train_torchkeras", ("torchkeras",)),
    "keras": Contender("Keras on JAX", "benchmarks.keras_peer:train_keras", ("keras", "jax")),
}

COMPILED = ["--trainer.compile", "true"]
COMPILED_STEPS = [*COMPILED, "--trainer.steps_per_execution", "9"]  # for epochs of 28 steps: 3 x 9 + 1
BF16 = ["--trainer.steps_per_execution", "auto", "--trainer.precision", "bf16-mixed"]

# Measured epochs of a round; the tiny tasks need many, as the first ones after compiling are slower.
EPOCHS = {"linear": 100, "ring": 100, "mnist": 1, "reuters": 2}
JOB_EPOCHS = {"linear": 20, "ring": 20, "mnist": 2, "reuters": 3}
USUAL_TASKS = list(EPOCHS)  # measured by default
EPOCHS |= {"mnist_mlp": 1, "imdb": 1, "imdb_separable": 1, "housing": 5}
JOB_EPOCHS |= {"mnist_mlp": 1, "imdb": 1, "imdb_separable": 1, "housing": 5}
ROUNDS_FACTOR = {"reuters": 2}  # times --rounds: two short epochs are noisy

GOALS = {  # by part: kind, contender, base, and the largest ratio of their seconds on two CPU cores
    "loops": (
        ("must", DEFAULT, FLOOR, {"linear": 1.4, "ring": 1.2, "mnist": 0.95, "reuters": 0.95}),
        ("aim", DEFAULT, FLOOR, {"linear": 1.2, "ring": 1.1, "mnist": 0.85, "reuters": 0.85}),
        ("aim", ACCELERATED, FLOOR, {"linear": 0.6, "ring": 0.6, "mnist": 0.65}),
    ),
    "jobs": (
        ("must", DEFAULT, "hand", {"linear": 1.25, "ring": 1.25, "mnist": 0.75, "reuters": 0.9}),
        ("aim", DEFAULT, "hand", {"linear": 1.1, "ring": 1.1, "mnist": 0.7, "reuters": 0.8}),
        ("must", DEFAULT, "keras", {"linear": 1.0, "ring": 1.0}),
        ("aim", DEFAULT, "keras", {"linear": 0.9, "ring": 0.9}),
    ),
    "startup": (
        ("must", PREDICT, BARE_IMPORT, {"": 1.0}),
        ("aim", PREDICT, BARE_IMPORT, {"": 0.7}),
    ),
}

# Largest relative difference of the last validation loss from that of the default contender. The floor has
# the same row order, masks and dropout: only the rounding of its kernels differs. (Embeddings of reuters
# that start 1e-7 larger change its loss by up to 5 %; its tolerance is twice that.) The others draw their
# own order; their tolerance is about twice the largest difference between two seeds.
SAME_ORDER_TOLERANCE = {"linear": 1e-4, "ring": 1e-3, "mnist": 0.15, "reuters": 0.1}
SAME_ORDER_TOLERANCE |= {"mnist_mlp": 0.1, "imdb": 0.1, "imdb_separable": 0.1, "housing": 0.01}
OTHER_ORDER_TOLERANCE = {"linear": 0.02, "ring": 0.06, "mnist": 0.3, "reuters": 0.2}
OTHER_ORDER_TOLERANCE |= {"mnist_mlp": 0.3, "imdb": 0.2, "imdb_separable": 0.2, "housing": 0.2}

Results = dict[str, dict[str, list[float]]]  # name -> what was measured -> its value in each round


class BenchmarkError(Exception):
    """A process failed, or two contenders do not reach the same loss; the message is one line."""


def further_flags(contender: str, task: str, gpus: int) -> list[str]:
    """Of ``train.py``: compiled steps accelerate tiny nets, half precision large convolutions."""
    if contender != ACCELERATED:
        return []
    if task in ("linear", "ring"):
        return COMPILED_STEPS
    from lightmodels.trainer.hardware import has_bfloat16  # which the plain loops do not import

    return [*COMPILED, *BF16] if gpus else BF16 if has_bfloat16() else COMPILED


def check_losses(task: str, results: Results, epochs: int) -> None:
    """Raises BenchmarkError if a ``val_loss`` is not near that of the default, or else first, contender."""
    reference = DEFAULT if DEFAULT in results else next(iter(results))
    for contender, values in results.items():
        limit = OTHER_ORDER_TOLERANCE[task]
        if {contender, reference} <= {DEFAULT, FLOOR, FLOOR_KEPT}:
            limit = SAME_ORDER_TOLERANCE[task]
        elif epochs < EPOCHS[task]:  # early losses differ more
            limit = max(limit, min(5 * limit, 0.25))
        for loss, right in zip(values["val_loss"], results[reference]["val_loss"], strict=True):
            if not abs(loss - right) <= limit * abs(right):  # also for NaN
                raise BenchmarkError(
                    f"{task}: {contender} ends with val_loss {loss:.4f}, {reference} with {right:.4f}: they "
                    f"differ by more than {limit:.2%}, so their times are not comparable"
                )
