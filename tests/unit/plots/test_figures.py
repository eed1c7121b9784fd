"""Figures: what they show agrees with scikit-learn, nothing is clipped or empty, shapes decide."""

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

from lightmodels import MNISTCNN, LightModel, LinearRegression, ReutersConv1D, RingDNN, figures
from lightmodels import image_figures as image
from lightmodels import plane_figures as plane
from lightmodels.metrics.history import History

TOPICS = [f"commodity number {i} $5" for i in range(46)]


def drawn(generator_seed=0):
    return torch.Generator().manual_seed(generator_seed)


def labels(classes, rows=500, seed=0):
    """True classes, the low ones commoner, and predictions that are mostly right."""
    true = (torch.rand(rows, generator=drawn(seed)).square() * classes).long()
    predicted = torch.where(torch.rand(rows, generator=drawn(seed + 1)) < 0.8, true, true.flip(0))
    return true, predicted


def require_legible(figure, width=(500, 850)):
    """Every axes shows something, and every text lies on the canvas, which has the size of a dashboard's."""
    canvas, texts = FigureCanvasAgg(figure), []

    def draw(text, *args, **kwargs):
        texts.append(text)  # matplotlib makes more than it draws, such as ticks outside the limits
        return original(text, *args, **kwargs)

    original = Text.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw)
        canvas.draw()
    box = figure.bbox
    assert width[0] <= box.width <= width[1]
    assert 120 <= box.height <= 900
    assert figure.axes
    for axes in figure.axes:
        assert axes.has_data() or axes.get_label() == "<colorbar>"
    texts = [text for text in texts if text.get_visible() and text.get_text()]
    assert texts
    for text in texts:
        extent = text.get_window_extent(canvas.get_renderer())
        assert min(extent.x0, extent.y0, box.width - extent.x1, box.height - extent.y1) >= -1, text


def counts_of(figure):
    """The matrix of the numbers that are written in the first axes."""
    axes = figure.axes[0]
    size = len(axes.get_yticks())
    matrix = np.zeros((size, size), dtype=int)
    for text in axes.texts:
        column, row = text.get_position()
        matrix[row, column] = int(text.get_text())
    return matrix


@pytest.mark.parametrize("classes", [2, 5, 10, 13])
def test_a_confusion_matrix_counts_as_scikit_learn_does(classes):
    true, predicted = labels(classes)
    figure = figures.confusion_matrix(true, predicted, [str(i) for i in range(classes)])
    assert (counts_of(figure) == confusion_matrix(true, predicted, labels=range(classes))).all()
    assert f"{float((true == predicted).float().mean()):.1%} of 500" in figure.axes[0].get_title()
    require_legible(figure)


def test_of_many_classes_the_commonest_are_named_and_the_others_counted():
    true, predicted = labels(46)
    figure = figures.confusion_matrix(true, predicted, TOPICS)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    common = sorted(sorted(range(46), key=lambda i: -int((true == i).sum()))[:12])
    assert names == [*(figures.short(TOPICS[i]) for i in common), "34 others"]
    lumped = [
        torch.tensor([common.index(i) if i in common else 12 for i in y.tolist()]) for y in (true, predicted)
    ]
    assert (counts_of(figure) == confusion_matrix(*lumped, labels=range(13))).all()
    require_legible(figure)


def test_class_accuracy_has_a_bar_for_each_of_the_commonest():
    true, predicted = labels(46)
    figure = figures.class_accuracy(true, predicted, TOPICS)
    matrix = confusion_matrix(true, predicted, labels=range(46))
    order = np.argsort(-matrix.sum(1), kind="stable")[:20]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx((matrix.diagonal() / matrix.sum(1).clip(1))[order].tolist())
    require_legible(figure)


def test_regressions_figures():
    true = torch.randn(3_000, 1, generator=drawn())
    predicted = true + 0.1 * torch.randn(3_000, 1, generator=drawn(1))
    figure = figures.predicted_against_true(true, predicted, "price in $")
    shown = figure.axes[0].collections[0].get_offsets()
    assert len(shown) == 1_500  # of so many, every second one
    assert np.allclose(shown[:, 1], predicted[::2, 0])
    require_legible(figure)
    figure = figures.residuals(true, predicted)
    assert np.allclose(figure.axes[0].collections[0].get_offsets()[:, 1], (true - predicted)[::2, 0])
    require_legible(figure)


def test_figures_of_the_plane():
    (x, true), names = points(200), ["outer $", "inner"]
    require_legible(plane.classes_side_by_side(x, true, true.flip(0), names))
    grid = plane.grid_over(x, steps=30)
    assert (grid.min(0).values < x.min(0).values).all()
    figure = plane.decision_boundary(grid, grid.sum(1).sigmoid(), x, true, names, radius=1.5)
    require_legible(figure)
    flat = plane.decision_boundary(grid, torch.full((900,), 0.2), x, true, names)
    assert flat.axes[0].get_title() == "Decision boundary: one class everywhere"
    require_legible(flat)


def test_features_of_other_scales_fill_the_plane_too():
    (x, true), names = points(50), ["a", "b"]
    for scale in (1e5, 0.0):
        stretched = x * torch.tensor([1.0, scale])
        grid = plane.grid_over(stretched, steps=10)
        figure = plane.decision_boundary(grid, grid[:, 0].sigmoid(), stretched, true, names)
        require_legible(figure)
        box = figure.axes[0].get_position()
        assert min(box.width, box.height) > 0.4


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1.0, 12_345.0, 1e12])
def test_numbers_of_any_length_have_room(scale):
    x = torch.randn(50, 4, generator=drawn()) * scale
    y = x[:, 0] * 1_000
    require_legible(plane.fitted_lines(x, y, torch.ones(4), 0.0, ["a", "b", "c", "d"], "target"))
    require_legible(figures.residuals(y, x[:, 0]))
    require_legible(figures.predicted_against_true(y, y + x[:, 1]))
    require_legible(plane.weights_beside(x[0], x[1], ["a", "b", "c", "d"], "others"))
    names = ["a", "b"]
    require_legible(plane.classes_side_by_side(x[:, :2], (y > 0).long(), (y > 0).long(), names))
    rows = [{"epoch": epoch, "train_loss": scale / epoch, "val_mae": 1 + scale} for epoch in range(1, 9)]
    require_legible(History(rows).plot(), width=(400, 850))


def test_a_large_font_has_room_too():
    with rc_context({"font.size": 14}):
        x, true = points(60)
        require_legible(plane.classes_side_by_side(x, true, true, ["a", "b"]))
        require_legible(figures.confusion_matrix(*labels(46), TOPICS))
        require_legible(figures.residuals(x[:, 0], x[:, 1]))


def test_the_plane_has_the_names_of_the_features():
    model, (x, y) = RingDNN(), points(60)
    for info, expected in (
        ({"features": ["east $", "north"]}, [r"east \$", "north"]),
        ({"features": ["only one"]}, ["x1", "x2"]),
        ({}, ["x1", "x2"]),
    ):
        model.data_info = info
        with torch.no_grad():
            shown = model.figures((x, y[:, None].float()), model(x))
        for figure in shown.values():
            names = [figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()]
            assert names == expected


@pytest.mark.parametrize("features", [1, 2, 9])
def test_fitted_lines_go_through_points_without_noise(features):
    x, weights = torch.randn(50, features, generator=drawn()), torch.arange(1.0, features + 1)
    figure = plane.fitted_lines(x, x @ weights + 3, weights, 3.0, [f"x{i}" for i in range(features)], "y")
    assert len(figure.axes) == min(features, 6)
    for axes in figure.axes:
        (line,), offsets = axes.lines, axes.collections[0].get_offsets()
        (left, right), (low, high) = line.get_xdata(), line.get_ydata()
        on_line = low + (offsets[:, 0] - left) / (right - left) * (high - low)
        assert np.allclose(on_line, offsets[:, 1], atol=1e-4)
    require_legible(figure)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_worst_images_are_the_most_confidently_wrong(channels):
    images = torch.rand(40, channels, 12, 10, generator=drawn())
    probabilities = torch.rand(40, 3, generator=drawn(1)).softmax(1)
    true = torch.zeros(40).long()
    figure = image.worst_images(images, true, probabilities, ["cat", "dog", "hippopotamus"])
    sure, said = probabilities.max(1)
    worst = sorted((float(sure[i]) for i in range(40) if said[i]), reverse=True)[:24]
    shown = [float(text.get_text().split(" p ")[1]) for text in figure.axes[0].texts]
    assert shown == pytest.approx(worst, abs=0.005)
    require_legible(figure)


def test_without_a_wrong_image_the_least_confident_are_shown():
    figure = image.worst_images(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), torch.eye(2), ["a", "b"])
    assert figure.axes[0].get_title() == "0 of 2 images are wrong, here the least confident"
    require_legible(figure)


def test_filters():
    weight = torch.randn(70, 3, 5, 5)
    figure = image.first_filters(weight)
    assert np.allclose(figure.axes[0].images[0].get_array()[:5, :5], weight[0].mean(0))
    require_legible(figure)


def example(model_class):
    """A batch, and the names of the figures that the model draws of it."""
    if model_class is LinearRegression:
        x = torch.randn(60, 2, generator=drawn())
        return (x, x.sum(1, keepdim=True)), {"fitted_lines", "residuals", "weights"}
    if model_class is RingDNN:
        x, y = points(60)
        return (x, y[:, None].float()), {"classes", "decision_boundary"}
    if model_class is MNISTCNN:
        batch = torch.rand(30, 1, 28, 28), torch.arange(30) % 10
        return batch, {"confusion_matrix", "worst_images", "first_filters"}
    return (torch.randint(3, 99, (30, 300)), torch.arange(30) % 46), {"confusion_matrix", "topic_accuracy"}


@pytest.mark.parametrize("model_class", [LinearRegression, RingDNN, MNISTCNN, ReutersConv1D])
def test_each_of_our_models_draws_its_own(model_class):
    torch.manual_seed(0)
    model, (batch, names) = model_class(), example(model_class)
    with torch.inference_mode():
        shown = model.eval().figures(batch, model(batch[0]))
    assert set(shown) == names
    for figure in shown.values():
        require_legible(figure)


def test_weights_stand_beside_those_of_scikit_learn():
    (x, y), _ = example(LinearRegression)
    y = y + torch.randn(60, 1, generator=drawn(5))
    model = LinearRegression()
    with torch.inference_mode():
        heights = [bar.get_height() for bar in model.figures((x, y), model(x))["weights"].axes[0].patches]
    exact = LeastSquares().fit(x, y)
    assert heights[:3] == pytest.approx([*model.net.weight[0].tolist(), model.net.bias.item()])
    assert heights[3:] == pytest.approx([*exact.coef_[0], exact.intercept_[0]], abs=1e-5)


X2, X5, IMAGES = torch.randn(20, 2), torch.randn(20, 5), torch.rand(20, 3, 8, 8)
WHOLE, ZERO_ONE, FLOATS = torch.arange(20) % 3, (torch.arange(20) % 2).float(), torch.randn(20)
IMAGE_NET = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


@pytest.mark.parametrize(
    ("net", "batch", "names"),
    [
        (nn.Linear(5, 3), (X5, WHOLE), {"confusion_matrix"}),
        (nn.Linear(5, 3), (X5, torch.where(WHOLE == 1, -100, WHOLE)), {"confusion_matrix"}),
        (nn.Linear(5, 3), (X5, torch.full((20,), -100)), set()),
        (IMAGE_NET, (IMAGES, WHOLE), {"confusion_matrix", "worst_images"}),
        (nn.Linear(5, 1), (X5, ZERO_ONE[:, None]), {"confusion_matrix"}),
        (nn.Linear(2, 1), (X2, ZERO_ONE[:, None]), {"confusion_matrix", "decision_boundary"}),
        (nn.Linear(2, 1), (X2, ZERO_ONE), {"confusion_matrix", "decision_boundary"}),
        (nn.Linear(5, 1), (X5, FLOATS[:, None]), {"predicted_against_true"}),
        (nn.Linear(5, 5), (X5, X5), {"predicted_against_true"}),
        (nn.Linear(5, 3), (X5, FLOATS), set()),
        (nn.Linear(5, 3), X5, set()),
        (nn.Linear(5, 3), {"x": X5}, set()),
    ],
)
def test_defaults_follow_from_shapes(net, batch, names):
    model = LightModel(net)
    with torch.inference_mode():
        shown = model.figures(batch, model(batch[0] if isinstance(batch, tuple) else X5))
    assert set(shown) == names
    for figure in shown.values():
        require_legible(figure)


def test_outputs_that_are_probabilities_already_are_not_squashed_again():
    model = LightModel(nn.Sequential(nn.Linear(5, 1), nn.Sigmoid()))
    with torch.no_grad():
        outputs = model(X5)
        figure = model.figures((X5, ZERO_ONE[:, None]), outputs)["confusion_matrix"]
    assert (counts_of(figure) == confusion_matrix(ZERO_ONE, (outputs > 0.5).long())).all()


def test_classes_have_the_names_that_the_data_have():
    model = Classifier()
    x, y = points(20)
    model.data_info = {"classes": ["below", "above"]}
    with torch.no_grad():
        figure = model.figures((x, y), model(x))["confusion_matrix"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["below", "above"]
