"""Figures: the values they show, and that no text is cut or overlaps another one."""

from itertools import combinations

import numpy as np
import pytest
import torch
from helpers.models import Classifier, points
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from sklearn.linear_model import LinearRegression as LeastSquares
from sklearn.metrics import confusion_matrix
from torch import nn

from lightmodels import MNISTCNN, ImageCNN, LightModel, LinearRegression, ReutersConv1D, RingDNN
from lightmodels.metrics.history import History
from lightmodels.plots import binary, classification, defaults, images, plane, regression

TOPICS = [f"commodity number {i} $5" for i in range(46)]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def labels(classes, rows=500):
    """True classes, the low ones more common, and predictions that are mostly correct."""
    true = (randn(rows).abs() / 4 * classes).long().clamp_max(classes - 1)
    return true, torch.where(randn(rows, seed=1) < 0.8, true, true.flip(0))


def boxes_of_drawn_texts(figure):
    """Their boxes, a pixel narrower; matplotlib has more texts, such as labels of ticks out of range."""
    draw, texts = Text.draw, set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, *args: texts.add(text) or draw(text, *args))
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
    shown = [text for text in texts if text.get_visible() and text.get_text()]
    return {text: text.get_window_extent().padded(-0.5) for text in shown}


def require_legible(*figures):
    """Axes are not empty; no text, a footer included, is cut or overlaps a text or the axes of others."""
    for figure in figures:
        figure.supxlabel("epoch 5, best weights, validation data", fontsize=8)
        boxes, (width, height) = boxes_of_drawn_texts(figure), figure.bbox.size
        assert 450 <= width <= 850
        assert 120 <= height <= 900
        assert all(axes.has_data() or axes.get_label() == "<colorbar>" for axes in figure.axes)
        for text, box in boxes.items():
            assert min(*box.min, width - box.x1, height - box.y1) >= 0, text
            assert not box.count_overlaps(axes.bbox for axes in figure.axes if axes is not text.axes), text
        for first, second in combinations(boxes, 2):
            slanted = first.get_rotation() % 90 and second.get_rotation() % 90  # only their boxes overlap
            assert slanted or not boxes[first].overlaps(boxes[second]), (first, second)


def counts_of(figure):
    """The matrix of the numbers written in the first axes."""
    cells = {text.get_position(): int(text.get_text()) for text in figure.axes[0].texts}
    indices = range(len(figure.axes[0].get_yticks()))
    return np.array([[cells.get((column, row), 0) for column in indices] for row in indices])


@pytest.mark.parametrize("classes", [1, 2, 5, 10, 13])
def test_confusion_matrix_equals_that_of_scikit_learn(classes):
    true, predicted = labels(classes)
    figure = classification.confusion_matrix(true, predicted, TOPICS[:classes])
    assert (counts_of(figure) == confusion_matrix(true, predicted, labels=range(classes))).all()
    assert figure.get_suptitle() == f"Accuracy {100 * (true == predicted).float().mean():.1f} % (500 rows)"
    require_legible(figure)


def test_of_many_classes_the_most_common_are_shown():
    true, predicted = labels(46)
    matrix = classification.confusion_matrix(true, predicted, TOPICS)
    order = np.argsort(-torch.bincount(true, minlength=46).numpy(), kind="stable")
    assert matrix.axes[0].get_yticklabels()[-1].get_text() == "34 others"
    row = np.full(46, 12)
    row[np.sort(order[:12])] = np.arange(12)
    assert (counts_of(matrix) == confusion_matrix(row[true], row[predicted])).all()
    accuracy = classification.class_accuracy(true, predicted, TOPICS)
    recall = confusion_matrix(true, predicted, labels=range(46), normalize="true").diagonal()
    assert [bar.get_width() for bar in accuracy.axes[0].patches] == pytest.approx(recall[order[:20]].tolist())
    require_legible(matrix, accuracy)


def test_regression_figures_show_at_most_2000_rows():
    true, noise = randn(3_000, 1), randn(3_000, 1, seed=1)
    figure = regression.predicted_against_true(true, true + noise, "price in $")
    rows = torch.cat([true, true + noise, -noise], 1)[::2].numpy()
    assert np.allclose(figure.axes[0].collections[0].get_offsets(), rows[:, :2])
    assert figure.get_suptitle() == f"Root mean squared error {noise.square().mean() ** 0.5:.3g} (3,000 values)"
    residuals = regression.residuals(true, true + noise)
    assert np.allclose(residuals.axes[0].collections[0].get_offsets(), rows[:, 1:], atol=1e-5)
    assert sum(bar.get_width() for bar in residuals.axes[1].patches) == 1_500
    require_legible(figure, residuals)


@pytest.mark.parametrize(("rows", "scale", "font"), [(50, 1e-9, 10), (50, 1e5, 10), (50, 1, 14), (1, 1, 10)])
def test_long_numbers_and_names_large_fonts_and_a_single_row_have_room(rows, scale, font):
    x, names, target = randn(rows, 4) * scale, ["a", "b", "a long feature name", "d"], "a long target name"
    y, classes = x[:, 0] * 1_000, (x[:, 0] > 0).long()
    history = [{"epoch": epoch, "train_loss": scale / epoch, "val_mae": -1 - scale} for epoch in range(1, 9)]
    with rc_context({"font.size": font}):
        require_legible(
            classification.confusion_matrix(*labels(46, 10 * rows), TOPICS),
            classification.class_accuracy(*labels(46, 10 * rows), TOPICS),
            regression.fitted_lines(x, y, torch.ones(4), 0.0, names, target),
            regression.residuals(y, x[:, 0], target),
            regression.predicted_against_true(y, y + x[:, 1], target),
            regression.weight_comparison(x.flatten(), -x.flatten(), TOPICS[: 4 * rows], "least squares"),
            plane.classes_side_by_side(x[:, :2], classes, classes, TOPICS[:2], names[1:3]),
            plane.decision_boundary(lambda grid: grid.sum(1).sigmoid(), x[:, :2], classes, TOPICS[:2]),
            plane.values_in_plane(x[:, :2], y, names[1:3], f"predicted - true {target}"),
            binary.calibration(classes, x[:, 0].sigmoid()),
            binary.scores_by_class(classes, x[:, 0].sigmoid(), TOPICS[:2]),
            History(history[:rows]).plot(),
        )


def test_classes_side_by_side_mark_the_misclassified_points():
    x, true = points(200)
    left = x[:, 0] < 0
    figure = plane.classes_side_by_side(x, true, (~left).long(), ["a", "b"])
    shown = [part.get_offsets() for axes in figure.axes for part in axes.collections]
    expected = x[true == 0], x[true == 1], x[left], x[~left], x[left == true]
    assert all(np.allclose(*pair) for pair in zip(shown, expected, strict=True))
    require_legible(figure)


@pytest.mark.parametrize("scale", [1.0, 1e5, 0.0])
def test_decision_boundary_is_where_the_probability_is_one_half(scale):
    x, true = points(200)
    x = x * torch.tensor([1.0, scale])
    figure = plane.decision_boundary(lambda x: (3 * x[:, 0] - 1.5).sigmoid(), x, true, TOPICS[:2], radius=1.5)
    axes = figure.axes[0]
    assert np.allclose(axes.collections[1].get_paths()[0].vertices[:, 0], 0.5, atol=0.01)
    assert np.hypot(*axes.lines[1].get_data()) == pytest.approx(1.5)
    flat = plane.decision_boundary(lambda grid: 0.2 * torch.ones(len(grid), 1), x, true, ["a", "b"])
    assert flat.get_suptitle() == "One class everywhere"
    require_legible(figure, flat)
    assert min(axes.get_position().size) > 0.4


@pytest.mark.parametrize("features", [1, 2, 9])
def test_fitted_lines_go_through_points_without_noise(features):
    x, weights = randn(50, features), torch.arange(1.0, features + 1)
    figure = regression.fitted_lines(x, x @ weights + 3, weights, 3.0, TOPICS[:features], "y")
    assert len(figure.axes) == min(features, 6)
    for axes in figure.axes:
        first, second = axes.collections[0].get_offsets().T
        ends, heights = axes.lines[0].get_data()
        assert list(ends) == pytest.approx([first.min(), first.max()])
        assert np.allclose(np.interp(first, ends, heights), second, atol=1e-4)
    require_legible(figure)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 10), (2, 8, 64), (3, 64, 8)])
def test_worst_images_are_those_misclassified_with_most_confidence(shape):
    pictures, probabilities, true = randn(40, *shape), randn(40, 3, seed=1).softmax(1), torch.zeros(40).long()
    figure = images.worst_images(pictures, true, probabilities, ["cat", "dog", "hippopotamus"])
    confidence, predicted = probabilities.max(1)
    worst = sorted((i for i in range(40) if predicted[i]), key=lambda i: -confidence[i])[:20]
    assert [axes.get_title()[-6:] for axes in figure.axes] == [f"({confidence[i]:.2f})" for i in worst]
    drawn = figure.axes[0].images[0].get_array().mean(2).flatten()
    assert np.corrcoef(drawn, pictures[worst[0]].mean(0).flatten())[0, 1] > 0.999
    correct = images.worst_images(pictures[:2], true[:2], torch.tensor([[0.9, 0.1], [0.6, 0.4]]), ["a", "b"])
    assert correct.get_suptitle() == "0 of 2 images misclassified, least confident first"
    assert correct.axes[0].get_title() == "true a\npredicted a (0.60)"
    require_legible(figure, correct)


X2, X5, IMAGES, FLOATS = randn(20, 2), randn(20, 5), randn(20, 1, 28, 28), randn(20, 1)
BYTES = (99 * randn(20, 3, 8, 8)).abs().clamp_max(255).to(torch.uint8)
BINARY = ["confusion_matrix", "calibration", "scores_by_class", "roc_and_precision_recall"]
INTEGERS, ZERO_ONE = torch.arange(20) % 3, (torch.arange(20) % 2).float()[:, None]


@pytest.mark.parametrize(
    ("model", "batch", "names"),
    [
        (nn.Linear(5, 3), (X5, INTEGERS), ["confusion_matrix"]),
        (nn.Linear(5, 3), (X5, torch.where(INTEGERS == 1, -100, INTEGERS)), ["confusion_matrix"]),
        (nn.Linear(5, 3), (X5, torch.full((20,), -100)), []),
        (nn.Linear(5, 1), (X5, ZERO_ONE), BINARY),
        (nn.Linear(5, 1), (X5, torch.ones(20, 1)), BINARY[:-1]),
        (nn.Linear(2, 1), (X2, ZERO_ONE), [*BINARY, "decision_boundary"]),
        (nn.Linear(2, 1), (X2, ZERO_ONE[:, 0]), [*BINARY, "decision_boundary"]),
        (nn.Linear(5, 1), (X5, FLOATS), ["predicted_against_true"]),
        (nn.Linear(5, 5), (X5, X5), ["predicted_against_true"]),
        (nn.Linear(5, 3), (X5, FLOATS[:, 0]), []),
        (nn.Linear(5, 3), {"x": X5}, []),
        (LinearRegression(), (X2, FLOATS), ["fitted_lines", "residuals", "weights"]),
        (RingDNN(), (X2, ZERO_ONE), ["classes", "decision_boundary"]),
        (MNISTCNN(), (IMAGES, INTEGERS), ["confusion_matrix", "worst_images"]),
        (ImageCNN(3), (BYTES[:, :1], INTEGERS), ["confusion_matrix", "worst_images"]),
        (ImageCNN(3, 3), (BYTES, INTEGERS), ["confusion_matrix", "worst_images"]),
        (ReutersConv1D(), (torch.full((20, 300), 5), INTEGERS), ["confusion_matrix", "topic_accuracy"]),
    ],
)
def test_models_draw_the_figures_that_suit_the_shapes(model, batch, names):
    model = model if isinstance(model, LightModel) else LightModel(model)
    with torch.inference_mode():
        shown = model.eval().figures(batch, model(batch[0] if isinstance(batch, tuple) else X5))
    assert list(shown) == names
    require_legible(*shown.values())


def test_weights_are_compared_with_those_of_scikit_learn():
    model, exact = LinearRegression(), LeastSquares().fit(X2, FLOATS[:, 0])
    with torch.inference_mode():
        bars = [bar.get_width() for bar in model.figures((X2, FLOATS), model(X2))["weights"].axes[0].patches]
    learned = [*model.net.weight[0].tolist(), model.net.bias.item()]
    assert bars == pytest.approx([*learned, *exact.coef_, exact.intercept_], abs=1e-5)


def test_outputs_that_are_probabilities_already_are_not_squashed_again():
    outputs = X5[:, :1].sigmoid()
    figures = MNISTCNN().figures((IMAGES, INTEGERS), torch.eye(3)[INTEGERS.roll(1)])
    figures |= LightModel().figures((X5, ZERO_ONE), outputs)
    assert (counts_of(figures["confusion_matrix"]) == confusion_matrix(ZERO_ONE, outputs > 0.5)).all()
    assert all(axes.get_title().endswith("(1.00)") for axes in figures["worst_images"].axes)


@pytest.mark.parametrize(("names", "used"), [(["a $", "b"], True), (["a"], False)])
def test_features_and_classes_have_the_names_in_the_data_info(names, used):
    model = Classifier()
    model.data_info = {"features": names, "classes": names}
    assert defaults.feature_names(model, 2) == (names if used else ["x1", "x2"])
    figure = model.figures((X2, ZERO_ONE[:, 0].long()), X2)["confusion_matrix"]
    expected = [r"a \$", "b"] if used else ["0", "1"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == expected
