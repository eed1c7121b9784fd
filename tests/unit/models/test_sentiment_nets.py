"""The two nets for reviews: sizes, a reference with torch's primitives, metrics, and what they show."""

import math

import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from lightmodels import TextCNN, TextResNet, TextSeparableCNN, Trainer
from lightmodels.data.tensor_loader import TensorLoader

each_net = pytest.mark.parametrize("model_class", [TextResNet, TextSeparableCNN])


def example(rows=16, num_words=10_000, length=200):
    torch.manual_seed(0)
    return torch.randint(3, num_words, (rows, length)), (torch.arange(rows) % 2).float()[:, None]


@pytest.mark.parametrize(("model_class", "parameters"), [(TextResNet, 103_197), (TextSeparableCNN, 78_938)])
def test_a_net_has_its_size_and_learns_one_batch_to_zero_loss(model_class, parameters):
    pl.seed_everything(1, verbose=False)
    model, batch = model_class(), example()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(batch[0]).shape == (16, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        model.eval().shared_step(batch)["loss"].backward()
        optimizer.step()
    assert model.shared_step(batch)["loss"].item() < 0.01


def res_net(parameters, x):
    """The net of the source: (B, channels, length) throughout, ReLU right after each convolution."""
    left = iter(parameters)
    hidden = F.embedding(x, next(left)).transpose(1, 2)
    for kernel_size in (7, 5):
        inner = hidden
        for channels in (64, 32, hidden.shape[1]):
            weight, bias = next(left), next(left)
            assert weight.shape == (channels, inner.shape[1], kernel_size)
            inner = F.relu(F.conv1d(F.pad(inner, (kernel_size // 2, kernel_size // 2)), weight, bias))
        hidden = F.max_pool1d(hidden + inner, 2)
    return F.linear(hidden.flatten(1), next(left), next(left))


def separable(x, depthwise, pointwise, bias):
    """Each channel by itself, then a weighted sum of the channels at each place."""
    kernel_size = depthwise.shape[2]
    windows = x.unfold(2, kernel_size, 1)  # (B, channels, length - kernel_size + 1, kernel_size)
    alone = (windows * depthwise.reshape(1, -1, 1, kernel_size)).sum(3)
    return torch.einsum("bcl,oc->bol", alone, pointwise[:, :, 0]) + bias[:, None]


def separable_cnn(parameters, x):
    left = iter(parameters)
    hidden, results = F.embedding(x, next(left)).transpose(1, 2), []
    for kernel_size in (3, 5, 7):
        first, second = [next(left) for _ in range(3)], [next(left) for _ in range(3)]
        assert (first[0].shape, first[1].shape) == ((hidden.shape[1], 1, kernel_size), (64, hidden.shape[1], 1))
        assert (second[0].shape, second[1].shape) == ((64, 1, kernel_size), (32, 64, 1))
        inner = F.max_pool1d(F.relu(separable(hidden, *first)), kernel_size)
        results.append(F.relu(separable(inner, *second)).amax(2))
    return F.linear(torch.cat(results, dim=1), next(left), next(left))


@pytest.mark.parametrize(("model_class", "reference"), [(TextResNet, res_net), (TextSeparableCNN, separable_cnn)])
@pytest.mark.parametrize(("length", "embedding"), [(200, 7), (57, 7), (57, 12)])
def test_a_net_is_that_of_the_source(model_class, reference, length, embedding):
    model, (x, y) = model_class(length=length, embedding=embedding).double(), example(length=length)
    assert model.get_parameter("net.0.weight").shape == (10_000, embedding)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)  # biases too
    found = []
    for forward in (model, lambda x: reference(model.parameters(), x)):
        model.zero_grad()
        logits = forward(x)
        F.binary_cross_entropy_with_logits(logits / 100, y.double()).backward()
        found.append([logits, *(parameter.grad.clone() for parameter in model.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@each_net
def test_values_of_shared_step_by_hand(model_class):
    model, (x, y) = model_class().eval(), example()
    step, logits = model.shared_step((x, y)), model(x)
    p = logits.detach().sigmoid()
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean().item()
    assert step["loss"].item() == pytest.approx(expected, rel=1e-5)
    hits = sum((logit > 0) == bool(label) for logit, label in zip(logits.flatten().tolist(), y, strict=True))
    assert (int(step["acc"][0]), step["acc"][1]) == (hits, 16)
    assert step["auroc"].compute().item() == pytest.approx(roc_auc_score(y, p), abs=1e-6)


class Rows(TextResNet):
    """Gives a number of the row itself as logit."""

    def forward(self, x):
        return super().forward(x) * 0 + x[:, :1] / 50 - 0.2


def test_auroc_is_exact_over_uneven_batches_whose_logits_lie_between_0_and_1_in_some():
    torch.manual_seed(0)
    x = torch.cat([torch.randint(10, 60, (32, 200)), torch.randint(0, 100, (18, 200))])  # the first batch in 0..1
    y = (x[:, :1] + 30 * torch.randn(50, 1) > 50).float()
    trainer = Trainer(gpus=0, logger=False)
    (tested,) = trainer.test(Rows(), TensorLoader(x, y, batch_size=32), verbose=False)
    assert tested["test_auroc"] == pytest.approx(roc_auc_score(y[:, 0], x[:, 0]), abs=1e-6)
    assert tested["test_acc"] == pytest.approx(((x[:, :1] > 10) == (y > 0.5)).float().mean().item())


@each_net
def test_losses_stay_finite_for_huge_logits(model_class):
    model, batch = model_class(), example()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(100)
    assert model(batch[0]).abs().max() > 100
    loss = model.shared_step(batch)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@each_net
def test_dropout_is_on_in_training_only(model_class):
    x = example()[0]
    model = model_class(dropout=0.5)
    assert torch.equal(model.eval()(x), model(x))
    assert not torch.equal(model.train()(x), model(x))
    plain = model_class()
    assert torch.equal(plain.train()(x), plain.eval()(x))


@each_net
def test_the_recipe_is_nadam_with_a_constant_rate(model_class):
    optimizer = model_class(lr=0.002).configure_optimizers()
    assert isinstance(optimizer, torch.optim.NAdam)
    assert optimizer.param_groups[0]["lr"] == 0.002
    assert model_class.max_epochs == 3


@each_net
def test_a_net_starts_as_in_keras(model_class):
    layers = [layer for layer in model_class().modules() if list(layer.parameters(recurse=False))]
    assert layers[0].weight.abs().max() <= 0.05
    for layer in layers[1:]:
        assert layer.bias is None or not layer.bias.any()
        inputs, outputs = (n * layer.weight[0][0].numel() for n in (layer.weight.shape[1], layer.weight.shape[0]))
        assert layer.weight.abs().max() <= math.sqrt(6 / (inputs + outputs))


@each_net
def test_the_worst_reviews_and_the_embeddings(model_class):
    model, (x, y) = model_class(num_words=50, length=60), example(num_words=50, length=60)
    outputs = torch.where(y > 0, 2.0, -2.0)
    outputs[3] = -4.0
    assert (model.texts((x, y), outputs), model.embeddings((x, y), outputs)) == ({}, {})
    words = {f"w{rank}": rank for rank in range(1, 90)}
    model.data_info = {"classes": ["bad", "good"], "word_index": words, "tokens": {"offset": 3}}
    x[3, :3] = torch.tensor([0, 1, 2])
    text = model.texts((x, y), outputs)["worst_texts"].split("\n\n")
    assert text[:2] == [
        "Accuracy 93.8 % (15 of 16 texts). Most confidently misclassified:",
        "true **good**, predicted bad 98.2 %",
    ]
    words = [f"w{token - 3}" for token in x[3, 3:].tolist() if token > 3]  # token 3 has no word, as in Keras
    assert text[2] == f"> ? {' '.join(words)}"
    points = model.embeddings((x, y), outputs)["words"]
    assert points.columns["label"] == [f"w{rank}" for rank in range(1, 47)]
    assert torch.equal(points.vectors, model.net[0].weight[4:])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TextResNet(lr=0), "^lr must be"),
        (lambda: TextResNet(num_words=0), "^num_words must be"),
        (lambda: TextResNet(length=3), "^length must be at least 4"),
        (lambda: TextResNet(embedding=0), "^embedding must be"),
        (lambda: TextSeparableCNN(embedding=0), "^embedding must be"),
        (lambda: TextSeparableCNN(length=54), "^length must be at least 55"),
        (lambda: TextSeparableCNN(dropout=1.0), "^dropout must be at least 0 and below 1"),
    ],
)
def test_invalid_hyper_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(("model_class", "length"), [(TextResNet, 4), (TextSeparableCNN, 55)])
def test_the_shortest_texts(model_class, length):
    assert model_class(num_words=9, length=length)(torch.ones(2, length, dtype=torch.long)).shape == (2, 1)


def test_pooling_before_relu_is_bit_identical_to_relu_first():
    net = TextSeparableCNN().net
    x = example()[0]
    x[:, :150] = 0  # padding: rows of equal numbers, so that pooling has to choose
    found = []
    for first in (nn.MaxPool2d, nn.ReLU):
        assert isinstance(net[3][0][1], first)
        net.zero_grad()
        logits = net(x)
        logits.sum().backward()
        found.append([logits, *(parameter.grad.clone() for parameter in net.parameters())])
        for branch in net[3]:
            branch[1], branch[2] = branch[2], branch[1]
    assert all(map(torch.equal, *found))


@each_net
@pytest.mark.parametrize("classes", [2, 4])
def test_integer_classes_and_weights(model_class, classes):
    torch.manual_seed(0)
    model = model_class(num_words=50, length=60, num_classes=classes).eval()
    x, y, weights = torch.randint(3, 50, (12, 60)), torch.arange(12) % classes, torch.rand(12)
    step, logits = model.shared_step((x, y, weights)), model(x)
    assert logits.shape == (12, classes)
    losses = -logits.log_softmax(1)[range(12), y]
    assert step["loss"].item() == pytest.approx((losses * weights).mean().item(), rel=1e-5)
    assert int(step["acc"][0]) == sum(logits.argmax(1) == y)
    assert ("auroc" in step) == (classes == 2)
    if classes == 2:
        assert step["auroc"].compute().item() == pytest.approx(roc_auc_score(y, logits.detach().softmax(1)[:, 1]))


def test_one_logit_takes_integer_classes_too():
    model, (x, y) = TextResNet().eval(), example()
    assert torch.equal(model.shared_step((x, y))["loss"], model.shared_step((x, y[:, 0].long()))["loss"])
    with pytest.raises(ValueError, match=r"^num_classes must be a finite number above 0, got 0$"):
        TextResNet(num_classes=0)


@pytest.mark.parametrize("model_class", [TextCNN, TextResNet], ids=["TextCNN", "TextResNet"])
def test_the_worst_texts_of_several_classes(model_class):
    model, x = model_class(num_words=50, length=60, num_classes=3), torch.full((4, 60), 4)
    x[:, -1] = torch.arange(5, 9)
    y, outputs = torch.tensor([0, 1, 2, 2]), torch.eye(3)[[0, 2, 1, 1]] * torch.tensor([1.0, 2.0, 3.0, 1.0])[:, None]
    names = {"classes": ["a", "b", "c"], "word_index": {f"w{rank}": rank for rank in range(1, 40)}}
    model.data_info = names | {"tokens": {"offset": 3}}
    title, *parts = model.texts((x, y, torch.ones(4)), outputs)["worst_texts"].split("\n\n")
    assert title == "Accuracy 25.0 % (1 of 4 texts). Most confidently misclassified:"
    share = [100 * torch.tensor([p, 0.0, 0.0]).softmax(0)[0].item() for p in (3.0, 2.0, 1.0)]
    pairs = [("c", "b"), ("b", "c"), ("c", "b")]
    assert parts[::2] == [
        f"true **{true}**, predicted {said} {p:.1f} %" for (true, said), p in zip(pairs, share, strict=True)
    ]
    assert [part.split()[-1] for part in parts[1::2]] == ["w4", "w3", "w5"]
