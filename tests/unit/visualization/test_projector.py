"""The projector's files: read back by TensorBoard's reader, compared with weights and activations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from helpers.commands import use_tiny_files
from helpers.fits import loaders
from helpers.models import Classifier, points
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.plugins.projector import projector_plugin
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch.utils.tensorboard import SummaryWriter

from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from lightmodels import MNISTCNN, Embedding, ReutersConv1D, Trainer, load
from lightmodels.visualization import projector


def trainer(**options):
    return Trainer(**{"max_epochs": 2, "run_dir": "run", "gpus": 0, **options})


def add(embeddings, directory="run"):
    """The entries of the projector's configuration after adding embeddings to a run."""
    with SummaryWriter(directory) as writer:
        projector.add_embeddings(writer, embeddings, 3)
    return config(directory)


def config(directory="run"):
    content = Path(directory, "projector_config.pbtxt").read_text()
    return text_format.Parse(content, ProjectorConfig()).embeddings


def vectors(entry):
    return projector_plugin._read_tensor_tsv_file(f"run/{entry.tensor_path}")


def cells(entry):
    """The table of labels, as the page reads it; it skips blank lines."""
    content = Path("run", entry.metadata_path).read_bytes().decode()
    return [line.split("\t") for line in content.split("\n") if line.strip()]


def sheet(entry):
    return np.asarray(Image.open(Path("run", entry.sprite.image_path)))


class Shows(Classifier):
    """Shows its hidden layer, and counts how often."""

    asked = 0

    def embeddings(self, batch, outputs):
        self.asked += 1
        return {"hidden": Embedding(self.net[:2](batch[0]), [str(label) for label in batch[1].tolist()])}


@pytest.fixture(autouse=True)
def no_figures_of_models(monkeypatch):
    """They are drawn at the same moments, and take longer than all else."""
    for model in (Shows, MNISTCNN, ReutersConv1D):
        monkeypatch.setattr(model, "figures", lambda *_: {})


def test_vectors_and_labels_are_read_back_exactly(capsys):
    given = torch.randn(7, 5) * torch.logspace(-30, 30, 7)[:, None]
    embeddings = {"a b": Embedding(given, list("abcdefg")), "x/y&z": Embedding(given[:2].bfloat16(), ["", "1"])}
    first, second = add(embeddings)
    assert (first.tensor_name, second.tensor_name) == ("a b:00003", "x_y_z:00003")
    assert np.array_equal(vectors(first), given.numpy())
    assert np.array_equal(vectors(second), given[:2].bfloat16().float().numpy())
    assert cells(first) == [[letter] for letter in "abcdefg"]
    assert cells(second) == [["-"], ["1"]]
    assert len(add(embeddings)) == 2  # as after a resume
    assert capsys.readouterr().out == ""


def test_several_columns_have_a_header_and_no_label_breaks_a_line():
    labels = {"the\tword": ["a\tb", "c\nd", " \r\n", ""], "n": [1, 2, 3, ""], "odd": ["\ud800", "é", "|", "x"]}
    (entry,) = add({"x": Embedding(torch.zeros(4, 2), labels)})
    rows = [["a b", "1", "?"], ["c d", "2", "é"], ["-", "3", "|"], ["-", "-", "x"]]
    assert cells(entry) == [["the word", "n", "odd"], *rows]
    (entry,) = add({"x": Embedding(torch.zeros(2, 2), {"word": ["a", "b"]})})
    assert cells(entry) == [["a"], ["b"]]


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 4, 6), (3, 6, 4), (2, 5, 5)])
def test_images_are_the_tiles_of_a_square_sheet_in_the_order_of_the_points(channels, height, width):
    images = torch.rand(5, channels, height, width)
    (entry,) = add({"x": Embedding(torch.zeros(5, 2), list("abcde"), images)})
    side = max(height, width)
    assert list(entry.sprite.single_image_dim) == [side, side]
    assert sheet(entry).shape == (3 * side, 3 * side, 3)
    for place, image in enumerate(images):
        row, column = divmod(place, 3)
        tile = sheet(entry)[side * row : side * (row + 1), side * column : side * (column + 1)] / 255
        rgb = image if channels == 3 else image.mean(0).expand(3, -1, -1)
        low, high = rgb.min(), rgb.max()
        expected = ((rgb - low) / (high - low)).permute(1, 2, 0).numpy()
        assert np.allclose(tile[:height, :width], expected, atol=0.005)
        assert not tile[height:].any()
        assert not tile[:, width:].any()
    assert not sheet(entry)[side:, 2 * side :].any()


@pytest.mark.parametrize(("count", "most", "side"), [(9, 8192, 64), (100, 90, 9), (1, 90, 64)])
def test_large_images_shrink_and_keep_their_shape(monkeypatch, count, most, side):
    monkeypatch.setattr(projector, "MAX_SHEET_SIDE", most)
    images = torch.zeros(count, 3, 200, 100)
    images[:, 0] = 1.0
    (entry,) = add({"x": Embedding(torch.zeros(count, 2), ["a"] * count, images)})
    assert list(entry.sprite.single_image_dim) == [side, side]
    assert max(sheet(entry).shape) <= most
    red = (sheet(entry)[:side, :side] == [255, 0, 0]).all(2)
    assert red.all(1).sum() == 0
    assert red[:, 0].all()
    assert abs(red[0].sum() - side / 2) <= 0.5


def test_names_that_become_the_same_are_refused():
    one = Embedding(torch.zeros(1, 2), ["a"])
    with pytest.raises(ValueError, match="need names that differ in letters or digits"):
        add({"x/y": one, "x&y": one})


def test_the_last_hidden_layer_of_the_digits(monkeypatch):
    use_tiny_files(monkeypatch, "files")
    data = MNISTDataModule("files")
    run = trainer()
    run.fit(MNISTCNN(), data)
    model, hidden = load("run/checkpoints/best.ckpt").eval(), []
    model.net[8].register_forward_hook(lambda layer, inputs, output: hidden.append(output))
    x, y = data.splits.val
    with torch.no_grad():
        predicted = model(x).argmax(1).tolist()
    (entry,) = config()
    assert entry.tensor_name == f"last_hidden_layer:{run.best_epoch:05}"
    np.testing.assert_allclose(vectors(entry), hidden[0].numpy(), rtol=1e-5, atol=1e-6)
    rows = [[str(a), str(b)] for a, b in zip(y.tolist(), predicted, strict=True)]
    assert cells(entry) == [["true", "predicted"], *rows]
    assert list(entry.sprite.single_image_dim) == [28, 28]
    low, high = x[0].min(), x[0].max()
    assert np.allclose(sheet(entry)[:28, :28, 0] / 255, ((x[0, 0] - low) / (high - low)).numpy(), atol=0.005)


def test_the_most_common_words(monkeypatch):
    monkeypatch.setattr("lightmodels.core.vocabulary.MOST_COMMON_WORDS", 20)
    use_tiny_files(monkeypatch, "files")
    data = ReutersDataModule("files")
    model = ReutersConv1D(**data.sizes)
    trainer().fit(model, data)
    best = torch.load("run/checkpoints/best.ckpt", weights_only=True)["state_dict"]["net.0.weight"]
    index = data.info["word_index"]
    words = sorted(index, key=index.get)[:20]
    (entry,) = config()
    assert cells(entry) == [[word] for word in words]
    assert np.array_equal(vectors(entry), best[[index[word] + 3 for word in words]].numpy())
    model.data_info["word_index"] = {"the": 1, "000": 2, "it's": 3}
    (embedding,) = model.embeddings(None, None).values()
    assert embedding.labels == ["the", "it's"]  # the page would show 000 as 0


@pytest.mark.parametrize("info", [{}, {"kind": "text"}, {"word_index": {}, "tokens": {"offset": 3}}])
def test_without_a_vocabulary_there_are_no_words_and_no_texts(info):
    model, x = ReutersConv1D(num_words=50, length=20), torch.ones(2, 20, dtype=torch.long)
    model.data_info = info
    assert model.embeddings((x, x[:, 0]), model(x)) == {}
    assert model.texts((x, x[:, 0]), model(x)) == {}


@pytest.mark.parametrize("resumed", [False, True])
def test_training_on_replaces_the_embedding_of_the_best_weights(resumed):
    model, run = Shows(), trainer(max_epochs=3)
    run.fit(model, **loaders())
    assert model.asked == 1
    if resumed:
        run = trainer(max_epochs=5, run_dir=None)
        run.fit(Shows(), **loaders(), ckpt_path="run/checkpoints/last.ckpt")
    else:
        run.fit(model, **loaders(), max_epochs=5)
    (entry,) = config()
    assert entry.tensor_name == f"hidden:{run.best_epoch:05}"
    best = load("run/checkpoints/best.ckpt", model_class=Shows)
    expected = best.net[:2](points(31, 1)[0]).detach().numpy()
    np.testing.assert_allclose(vectors(entry), expected, rtol=1e-5, atol=1e-6)


def test_another_logger_has_the_files_beside_its_events_and_without_one_there_are_none():
    trainer(logger=TensorBoardLogger("logs", "", "mine", default_hp_metric=False)).fit(Shows(), **loaders())
    trainer(logger=False, run_dir="without").fit(Shows(), **loaders())
    assert [path.parent for path in Path().rglob("projector_config.pbtxt")] == [Path("logs/mine")]
