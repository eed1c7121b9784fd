"""LightClassifier and LightRegressor: neural networks as scikit-learn estimators (extra ``sklearn``)."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from lightmodels.core.light_model import LightModel
from lightmodels.core.net_spec import OPTIMIZERS
from lightmodels.data.array_datamodule import ArrayDataModule
from lightmodels.data.row_splits import split_rows
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.metrics.weighted_loss import weighted_loss
from lightmodels.models.mlp import MLP
from lightmodels.trainer.trainer import Trainer
from lightmodels.utils import console
from lightmodels.utils.preserve import get_rng_state, set_rng_state

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError("lightmodels.sklearn needs scikit-learn: pip install scikit-learn") from error

Array = np.ndarray[Any, Any]
Net = nn.Module | Callable[[int, int], nn.Module]
RowLoss = Callable[[Tensor, Tensor], Tensor]

PREDICTED_ROWS = 4096  # in a batch, at least
NO_FILES = {"logger": False, "enable_checkpointing": False, "figures": False, "num_sanity_val_steps": 0}


class EstimatorModel(LightModel):
    """What an estimator trains: a net with ``num_outputs`` values a row, on batches ``(x, y)`` or ``(x, y, weights)``.

    ``loss`` gives the losses of the rows, ``(B,)`` or ``(B, num_outputs)``.
    """

    def __init__(
        self, net: nn.Module, num_outputs: int, loss: RowLoss, optimizer: Callable[[Any], torch.optim.Optimizer]
    ) -> None:
        super().__init__(net)
        self.num_outputs, self.loss, self.optimizer = num_outputs, loss, optimizer

    def shared_step(self, batch: tuple[Tensor, ...]) -> dict[str, Any]:
        x, y, *weights = batch
        outputs = self(x)
        if outputs.shape != (len(x), self.num_outputs):
            raise ValueError(f"net must give shape {(len(x), self.num_outputs)}, got {tuple(outputs.shape)}")
        values = {"loss": weighted_loss(self.loss(outputs, y), weights)}
        if not y.is_floating_point():
            values["acc"] = weighted_loss((outputs.argmax(1) == y).float(), weights)
        return values

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())


class BestWeights(pl.Callback):
    """Keeps a copy of the weights with the lowest ``val_loss`` in memory."""

    def __init__(self) -> None:
        self.lowest, self.weights = np.inf, dict[str, Tensor]()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (loss := float(trainer.callback_metrics["val_loss"])) < self.lowest:
            self.lowest, self.weights = loss, copy.deepcopy(pl_module.state_dict())


@dataclass(eq=False, repr=False)
class NetEstimator(BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share; ``LightClassifier`` describes the parameters."""

    losses: ClassVar[Mapping[str, RowLoss]]
    target_options: ClassVar[Mapping[str, bool]]  # of ``validate_data``

    net: Net | None = None
    _: KW_ONLY
    hidden: Sequence[int] = (100,)
    loss: str | RowLoss
    max_epochs: int = 50
    batch_size: int = 32
    lr: float = 1e-3
    optimizer: str | Callable[..., torch.optim.Optimizer] = "adam"
    val_fraction: float = 0.0
    patience: int | None = None
    trainer_options: Mapping[str, Any] | None = None
    random_state: Any = None
    verbose: bool = False

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains a new net.

        Args:
            X: features, ``(N, features)``, or of more dimensions for a net that takes them.
            y: the target of each row.
            sample_weight: weights of the rows, ``(N,)``: one of weight 2 counts as if it were there twice.

        Raises:
            ValueError: data or parameters that cannot be used.
            FloatingPointError: the loss is not finite.
        """
        X, y, weights = self._checked(X, y, sample_weight, is_first=True)
        self._start_target(y, weights)
        seed = self._draw_seed()
        data = self._data(X, self._encode(y), self._weigh(y, weights), seed)
        with _seeded(seed), console.verbosity("normal" if self.verbose else "quiet"):
            self._make_model(X)
            self._train(data)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """Trains one epoch on these rows; the optimizer continues where the last call has left it."""
        is_first = not hasattr(self, "model_")
        X, y, weights = self._checked(X, y, sample_weight, is_first)
        if is_first:
            self._start_target(*((y, weights) if classes is None else (np.asarray(classes), None)))
        if not hasattr(self, "_order_seed"):
            self._order_seed = self._draw_seed()
        parts = [X, self._encode(y), self._weigh(y, weights)]
        tensors = [torch.tensor(part) for part in parts if part is not None]
        loader = TensorLoader(*tensors, batch_size=self.batch_size, shuffle=True, seed=self._order_seed)
        loader.set_epoch(0 if is_first else len(self.history_))
        with _seeded(self._order_seed + loader.epoch):
            if is_first:
                self._make_model(X)
            self.model_.train()
            for batch in loader:
                self.model_.train_on_batch(batch)
            self.model_.reset_metrics()
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any, is_first: bool) -> tuple[Array, Array, Array | None]:
        """The rows, without those of weight 0, and their weights, if any."""
        X, y = validate_data(self, X, y, reset=is_first, dtype=np.float32, allow_nd=True, **self.target_options)
        if sample_weight is None:
            return X, y, None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        kept = weights > 0
        return X[kept], y[kept], weights[kept]

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _data(self, X: Array, target: Array, weights: Array | None, seed: int) -> ArrayDataModule:
        """The rows of training, and those of validation if there are any; weights are 1 on average."""
        kept, held_out = torch.arange(len(X)), None
        if self.val_fraction:
            labels = torch.from_numpy(target) if target.dtype == np.int64 else None
            kept, held_out = split_rows(kept, self.val_fraction, seed, labels)

        def part(rows: Tensor) -> tuple[Array, ...]:
            chosen = rows.numpy()
            own = () if weights is None else (weights[chosen] / weights[chosen].mean(),)
            return X[chosen], target[chosen], *own

        val = None if held_out is None else part(held_out)
        return ArrayDataModule(part(kept), val, batch_size=self.batch_size, seed=seed)

    def _make_model(self, X: Array) -> None:
        num_features, num_outputs = int(np.prod(X.shape[1:])), self._num_outputs
        if self.net is None:
            model = MLP(num_features, num_outputs, hidden=self.hidden, activation="relu", dropout=0.0)
            layers = model.get_submodule("net").children()
            net: nn.Module = nn.Sequential(nn.Flatten(), *layers)
        else:
            net = copy.deepcopy(self.net) if isinstance(self.net, nn.Module) else self.net(num_features, num_outputs)
        loss = _by_name("loss", self.loss, self.losses)
        optimizer = partial(_by_name("optimizer", self.optimizer, OPTIMIZERS), lr=self.lr)
        self.model_ = EstimatorModel(net, num_outputs, loss, optimizer)
        self.history_ = self.model_.history

    def _train(self, data: ArrayDataModule) -> None:
        options = {**NO_FILES, **(self.trainer_options or {})}
        best = BestWeights()
        if self.patience is not None:
            if not self.val_fraction:
                raise ValueError("patience needs a val_fraction above 0, the share of rows to validate on")
            options["callbacks"] = [*options.get("callbacks", []), best]
        trainer = Trainer(max_epochs=self.max_epochs, patience=self.patience, **options)
        trainer.fit(self.model_, datamodule=data)
        if trainer.interrupted:
            raise KeyboardInterrupt
        if best.weights:
            self.model_.load_state_dict(best.weights)
        self.model_.trainer = None  # a model is pickled without it

    def _outputs(self, X: Any) -> Array:
        """The net's outputs for new rows, float64 ``(N, num_outputs)``."""
        check_is_fitted(self)
        X = torch.tensor(validate_data(self, X, reset=False, dtype=np.float32, allow_nd=True))
        parts = X.split(max(self.batch_size, PREDICTED_ROWS))
        return np.concatenate([self.model_.predict_on_batch(part).double().cpu().numpy() for part in parts])

    def _weigh(self, y: Array, weights: Array | None) -> Array | None:
        """The rows' weights in the loss."""
        return weights

    @abstractmethod
    def _start_target(self, y: Array, weights: Array | None) -> None:
        """Learns what ``_encode`` needs from the targets of all rows."""

    @abstractmethod
    def _encode(self, y: Array) -> Array:
        """The targets as the net is trained on them: classes, int64 ``(N,)``, or numbers, float32 ``(N, outputs)``."""


@dataclass(eq=False, repr=False)
class LightClassifier(ClassifierMixin, NetEstimator):  # type: ignore[misc]
    """A neural network that classifies, trained by ``lightmodels.Trainer``; writes no files.

    Features are used as they are, as float32: put a ``StandardScaler`` before it.

    Args:
        net: maps ``(B, features)`` to logits ``(B, classes)``: an ``nn.Module``, of which each ``fit`` trains a copy,
            or a function ``(features, outputs) -> nn.Module``, called at each ``fit``. By default, dense layers.
        hidden: units of the hidden layers of the default net.
        loss: ``"cross_entropy"``, or a function ``(outputs, target) -> losses of the rows``.
        max_epochs: epochs to train.
        batch_size: rows in a batch.
        lr: learning rate.
        optimizer: name of a class in ``torch.optim``, or a function ``(parameters, lr=lr) -> optimizer``.
        class_weight: weights of the classes, by their labels, or ``"balanced"``; multiplied by ``sample_weight``.
        val_fraction: share of the rows to validate on, the same of each class.
        patience: epochs without a lower ``val_loss`` after which training ends; the net then has the best weights.
        trainer_options: other arguments of ``Trainer``, such as ``{"gpus": 0}``.
        random_state: decides initial weights, order and validation rows; global random states stay as they are.
        verbose: whether to print a row per epoch.

    Attributes:
        classes_: the labels, in the order of ``predict_proba``.
        model_: the trained ``LightModel``.
        history_: its ``History``, one row per epoch.
        n_features_in_: number of features.
        feature_names_in_: names of the columns, if X was a DataFrame.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = LightClassifier(max_epochs=20, lr=0.01, random_state=0).fit(X, y)
        >>> classifier.score(X, y) > 0.9, classifier.predict_proba(X[:2]).shape
        (True, (2, 3))
    """

    losses: ClassVar[Mapping[str, RowLoss]] = {"cross_entropy": partial(F.cross_entropy, reduction="none")}
    target_options: ClassVar[Mapping[str, bool]] = {}

    loss: str | RowLoss = field(default="cross_entropy", kw_only=True)
    class_weight: Mapping[Any, float] | str | None = field(default=None, kw_only=True)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Trains one epoch on some of the rows; the first call must name all ``classes``.

        Weights are not relative to the other rows of a call. Raises ValueError for ``class_weight="balanced"``, which
        needs all rows, or for unknown classes.
        """
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' needs all rows: use fit, or pass the weights as a dict")
        known = getattr(self, "classes_", None)
        if known is None and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if known is not None and classes is not None and not np.array_equal(known, np.unique(classes)):
            raise ValueError(f"classes={np.unique(classes)} are not those of the first call, {known}")
        return self._partial_fit(X, y, sample_weight, classes)

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of the classes, ``(N, classes)``."""
        return F.softmax(torch.from_numpy(self._outputs(X)), dim=1).numpy()

    def predict(self, X: Any) -> Array:
        """The most probable classes, ``(N,)``."""
        best = self._outputs(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _start_target(self, y: Array, weights: Array | None) -> None:
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        self._num_outputs = len(self.classes_)
        if self._num_outputs < 2:
            raise ValueError(f"y must have at least two classes, got one class only: {self.classes_.tolist()[0]!r}")

    def _encode(self, y: Array) -> Array:
        if unknown := np.setdiff1d(y, self.classes_).tolist():
            raise ValueError(f"y has classes that were not named on the first call: {unknown}")
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _weigh(self, y: Array, weights: Array | None) -> Array | None:
        if self.class_weight is None:
            return weights
        options = {"classes": self.classes_, "y": y, "sample_weight": weights}
        per_class: Array = compute_class_weight(self.class_weight, **options)
        return per_class[self._encode(y)] * (1 if weights is None else weights)


@dataclass(eq=False, repr=False)
class LightRegressor(RegressorMixin, NetEstimator):  # type: ignore[misc]
    """A neural network that predicts numbers, one or several a row, trained by ``lightmodels.Trainer``.

    The net computes in a unit of y in which its training rows have mean 0 and standard deviation 1. Parameters and
    attributes are those of ``LightClassifier``, without those of classes.

    Args:
        loss: ``"mse"``, ``"mae"``, ``"huber"``, or a function ``(outputs, target) -> losses of the rows``.

    Examples:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> LightRegressor(max_epochs=20, lr=0.01, random_state=0).fit(X, y).score(X, y) > 0.4
        True
    """

    losses: ClassVar[Mapping[str, RowLoss]] = {
        "mse": partial(F.mse_loss, reduction="none"),
        "mae": partial(F.l1_loss, reduction="none"),
        "huber": partial(F.huber_loss, reduction="none"),
    }
    target_options: ClassVar[Mapping[str, bool]] = {"multi_output": True, "y_numeric": True}
    loss: str | RowLoss = field(default="mse", kw_only=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains one epoch on some of the rows; the unit of y is that of the first call.

        Weights are not relative to the other rows of a call.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """The predicted numbers, in the shape that y had."""
        values = self._outputs(X) * self._scale + self._mean
        return values if self._is_2d else values[:, 0]

    def _start_target(self, y: Array, weights: Array | None) -> None:
        self._is_2d = y.ndim > 1
        rows = y.reshape(len(y), -1).astype(np.float64)
        self._num_outputs = rows.shape[1]
        self._mean = np.average(rows, axis=0, weights=weights)
        deviation = np.sqrt(np.average((rows - self._mean) ** 2, axis=0, weights=weights))
        self._scale = np.where(deviation > 0, deviation, 1.0)

    def _encode(self, y: Array) -> Array:
        rows = y.reshape(len(y), -1)
        if rows.shape[1] != self._num_outputs:
            raise ValueError(f"y must have {self._num_outputs} values a row, as on the first call, got {rows.shape[1]}")
        return ((rows - self._mean) / self._scale).astype(np.float32)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds torch; on exit, all random generators are as they were."""
    states = get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        set_rng_state(states)


def _by_name(argument: str, given: Any, known: Mapping[str, Any]) -> Any:
    if not isinstance(given, str):
        return given
    if given not in known:
        raise ValueError(f"{argument} must be a function or one of {', '.join(known)}; got {given!r}")
    return known[given]
