"""The projector's files: read back by TensorBoard's reader, compared with weights and activations."""

import io
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from google.protobuf import text_format
from helpers.commands import command
from helpers.models import Classifier, OneCycle, points
from helpers.tiny_files import accepted, write_mnist, write_reuters
from PIL import Image
from tensorboard.plugins.projector import projector_plugin
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from lightmodels import MNISTCNN, Embedding, ReutersConv1D, RingDNN, Trainer, load, projector
from lightmodels.data.tensor_loader import TensorLoader


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def loaders():
    return TensorLoader(*points(103), batch_size=25, shuffle=True), TensorLoader(*points(31, 1), batch_size=9)


def trainer(**options):
    return Trainer(**{"max_epochs": 2, "run_dir": "run", "gpus": 0, **options})


def tiny(module, write, monkeypatch):
    write("files")
    monkeypatch.setattr(module, "files", accepted(module.files, "files"))
    return module("files")


def config(content=None):
    content = Path("run/projector_config.pbtxt").read_text() if content is None else content.decode()
    return text_format.Parse(content, ProjectorConfig()).embeddings


def vectors(name):
    return projector_plugin._read_tensor_tsv_file(f"run/projector/{name}.tsv")


def cells(content):
    """The table of a file, as the page takes it apart; it skips lines that are blank."""
    return [line.split("\t") for line in content.decode().split("\n") if line.strip()]


class Shows(Classifier):
    """Shows its hidden layer."""

    def embeddings(self, batch, outputs):
        return {"hidden": Embedding(self.net[:2](batch[0]), [str(label) for label in batch[1].tolist()])}


def test_the_files_are_named_in_the_configuration_and_give_the_vectors_back_to_the_bit(tmp_path):
    given = torch.randn(7, 5) * torch.logspace(-30, 30, 7)[:, None]
    made = projector.files(
        {"a b": Embedding(given, list("abcdefg")), "x/y&z": Embedding(given[:2], ["", "1"])}
    )
    projector.write(made, tmp_path)
    first, second = config(made["projector_config.pbtxt"])
    assert (first.tensor_name, second.tensor_name) == ("a b", "x_y_z")
    assert list(first.tensor_shape) == [7, 5]
    read = projector_plugin._read_tensor_tsv_file(str(tmp_path / first.tensor_path))
    assert np.array_equal(read, given.numpy())
    assert cells((tmp_path / first.metadata_path).read_bytes()) == [[letter] for letter in "abcdefg"]
    assert cells((tmp_path / second.metadata_path).read_bytes()) == [["-"], ["1"]]
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} == set(made)


def test_several_columns_have_a_header_and_no_label_breaks_a_line():
    labels = {
        "the\tword": ["a\tb", "c\nd", " \r\n", ""],
        "n": [1, 2, 3, ""],
        "odd": ["\ud800", "é", "|", "x"],
    }
    made = projector.files({"x": Embedding(torch.zeros(4, 2), labels)})
    assert cells(made["projector/x-labels.tsv"]) == [
        ["the word", "n", "odd"], ["a b", "1", "?"], ["c d", "2", "é"], ["-", "3", "|"], ["-", "-", "x"],
    ]  # fmt: skip
    for labels, expected in (({"word": ["a", "b"]}, [["a"], ["b"]]), (torch.tensor([3, 7]), [["3"], ["7"]])):
        one = projector.files({"x": Embedding(torch.zeros(2, 2), labels)})
        assert cells(one["projector/x-labels.tsv"]) == expected


def test_images_lie_in_a_square_in_the_order_of_the_points():
    images = torch.rand(5, 1, 4, 6)
    made = projector.files({"x": Embedding(torch.zeros(5, 2), list("abcde"), images)})
    (entry,) = config(made["projector_config.pbtxt"])
    assert list(entry.sprite.single_image_dim) == [6, 4]  # width, height
    sheet = np.asarray(Image.open(io.BytesIO(made[entry.sprite.image_path])))
    assert sheet.shape == (12, 18, 3)
    for place, image in enumerate(images[:, 0].numpy()):
        row, column = divmod(place, 3)
        tile = sheet[4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
        low, high = image.min(), image.max()
        assert np.allclose(tile, 255 * ((image - low) / (high - low))[..., None], atol=0.51)
    assert not sheet[4:, 12:].any()
    assert not sheet[8:].any()


@pytest.mark.parametrize(
    ("count", "most", "side"), [(9, 8192, 64), (100, 8192, 64), (100, 90, 9), (1, 90, 64)]
)
def test_large_images_shrink_and_keep_their_shape(monkeypatch, count, most, side):
    monkeypatch.setattr(projector, "MOST_PIXELS", most)
    images = torch.zeros(count, 3, 200, 100)
    images[:, 0] = 1.0
    made = projector.files({"x": Embedding(torch.zeros(count, 2), ["a"] * count, images)})
    (entry,) = config(made["projector_config.pbtxt"])
    width, height = entry.sprite.single_image_dim
    assert height == side
    assert abs(width - side / 2) <= 0.5
    sheet = Image.open(io.BytesIO(made["projector/x-sprites.png"]))
    assert max(sheet.size) <= most
    assert sheet.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3), list("abc")), r"vectors must be points of shape \(N, D\), got \(3,\)"),
        ((torch.zeros(0, 3), []), "vectors must be points"),
        ((torch.tensor([[float("nan")]]), ["a"]), "vectors must be finite"),
        ((torch.zeros(3, 2), ["a"]), "labels 'label' must be as many as the 3 points, got 1"),
        ((torch.zeros(1, 2), {"a": ["x"], "b": []}), "labels 'b' must be as many"),
        ((torch.zeros(1, 2), {}), "labels must have a column"),
        ((torch.zeros(2, 2), list("ab"), torch.zeros(3, 1, 4, 4)), "images must be as many as the 2 points"),
        ((torch.zeros(2, 2), list("ab"), torch.zeros(2, 4, 4)), "images must have the shape"),
    ],
)
def test_points_labels_and_images_must_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        Embedding(*arguments)


def test_names_that_make_the_same_file_are_refused():
    one = Embedding(torch.zeros(1, 2), ["a"])
    for other in ("x&y", "x_y-labels"):
        with pytest.raises(ValueError, match="needs a file of the same name as another one: rename it"):
            projector.files({"x/y": one, other: one})


def test_the_digits_last_hidden_layer(monkeypatch):
    data = tiny(MNISTDataModule, write_mnist, monkeypatch)
    trainer().fit(MNISTCNN(), data)
    model, hidden = load("run/checkpoints/best.ckpt").eval(), []
    model.net[8].register_forward_hook(lambda layer, inputs, output: hidden.append(output))
    x, y = data.splits.val
    with torch.no_grad():
        predicted = model(x).argmax(1).tolist()
    (entry,) = config()
    assert (entry.tensor_name, list(entry.tensor_shape)) == ("last_hidden_layer", [len(x), 32])
    np.testing.assert_allclose(vectors("last_hidden_layer"), hidden[0].numpy(), rtol=1e-5, atol=1e-6)
    header, *rows = cells(Path("run", entry.metadata_path).read_bytes())
    assert header == ["true", "predicted"]
    assert rows == [[str(a), str(b)] for a, b in zip(y.tolist(), predicted, strict=True)]
    sheet = np.asarray(Image.open(Path("run", entry.sprite.image_path)))
    assert list(entry.sprite.single_image_dim) == [28, 28]
    last = len(x) - 1
    row, column = divmod(last, sheet.shape[1] // 28)
    tile = sheet[28 * row : 28 * row + 28, 28 * column : 28 * column + 28, 0] / 255
    low, high = x[last].min(), x[last].max()
    assert np.allclose(tile, ((x[last, 0] - low) / (high - low)).numpy(), atol=0.002)


def test_the_most_common_words(monkeypatch):
    monkeypatch.setattr("lightmodels.models.reuters_conv1d.MOST_COMMON_WORDS", 20)
    data = tiny(ReutersDataModule, write_reuters, monkeypatch)
    model = ReutersConv1D(**data.sizes)
    trainer().fit(model, data)
    best = torch.load("run/checkpoints/best.ckpt", weights_only=True)["state_dict"]["net.0.weight"]
    words = sorted(data.info["word_index"], key=data.word_index.get)[:20]
    assert cells(Path("run/projector/words-labels.tsv").read_bytes()) == [[word] for word in words]
    assert np.array_equal(vectors("words"), best[[data.word_index[word] + 3 for word in words]].numpy())
    model.data_info["word_index"] = {"the": 1, "000": 2, "it's": 3}
    (embedding,) = model.embeddings(None, None).values()
    assert embedding.labels == ["the", "it's"]  # the page would show 000 as 0


def test_without_a_vocabulary_there_are_no_words_and_no_texts():
    x = torch.ones(2, 20, dtype=torch.long)
    for info in ({}, {"kind": "text"}, {"word_index": {}, "tokens": {"offset": 3}}):
        model = ReutersConv1D(num_words=50, length=20)
        model.data_info = info
        assert model.embeddings((x, x[:, 0]), model(x)) == {}
        assert model.texts((x, x[:, 0]), model(x)) == {}


def test_training_and_what_follows_it_are_the_same_to_the_bit_with_them_and_without():
    class Greedy(OneCycle):
        def texts(self, batch, outputs):
            torch.rand(3)
            self.train()
            return {"note": "text"}

        def embeddings(self, batch, outputs):
            torch.rand(3)
            return {"points": Embedding(batch[0], ["a"] * len(batch[0]))}

    ends = []
    for figures in (True, False):
        pl.seed_everything(1, verbose=False)
        model = Greedy()
        trainer(run_dir=f"run-{figures}", figures=figures).fit(model, *loaders())
        assert Path(f"run-{figures}/projector_config.pbtxt").exists() == figures
        ends.append(([value.tolist() for value in model.state_dict().values()], torch.rand(1).item()))
    assert ends[0] == ends[1]


def test_only_the_last_and_best_weights_are_asked_and_a_resumed_run_writes_all_again(monkeypatch):
    monkeypatch.setattr("lightmodels.snapshot.can_fork", lambda: False)  # so that it can be watched

    class Counts(Shows):
        asked = 0

        def embeddings(self, batch, outputs):
            self.asked += 1
            return super().embeddings(batch, outputs)

    for epochs, path in ((3, None), (5, "run/checkpoints/last.ckpt")):
        model = Counts()
        trainer(max_epochs=epochs, run_dir=None if path else "run").fit(model, *loaders(), ckpt_path=path)
        assert model.asked == 1
        (entry,) = config()
        assert list(entry.tensor_shape) == [31, 8]
        net = Classifier().net
        best = torch.load("run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
        net.load_state_dict({name.removeprefix("net."): value for name, value in best.items()})
        expected = net[:2](points(31, 1)[0]).detach().numpy()
        np.testing.assert_allclose(vectors("hidden"), expected, rtol=1e-5, atol=1e-6)
        assert sorted(path.name for path in Path("run/projector").iterdir()) == [
            "hidden-labels.tsv", "hidden.tsv",
        ]  # fmt: skip


def test_hooks_that_fail_are_one_warning_each_and_the_figures_are_drawn(monkeypatch):
    monkeypatch.setattr("lightmodels.pictures.SHARE", float("inf"))

    class Fails(Classifier):
        def texts(self, batch, outputs):
            return {"note": [][0]}

        def embeddings(self, batch, outputs):
            return {"points": Embedding(batch[0], ["one"])}

    with pytest.warns(RuntimeWarning) as caught:
        trainer(max_epochs=4).fit(Fails(), *loaders())
    ours = [str(each.message) for each in caught if "could not" in str(each.message)]
    assert ours == [
        "Fails.texts could not be drawn: IndexError: list index out of range",
        "Fails.embeddings could not be drawn: ValueError: "
        "labels 'label' must be as many as the 31 points, got 1",
    ]
    assert Path("run/figures/confusion_matrix.png").exists()
    assert not Path("run/projector_config.pbtxt").exists()


def test_a_command_whose_model_fails_to_show_itself_ends_well(monkeypatch, capfd):
    monkeypatch.setattr(RingDNN, "embeddings", lambda self, batch, outputs: 1 / 0)
    with pytest.warns(RuntimeWarning, match=r"RingDNN.embeddings could not be drawn: ZeroDivisionError"):
        ended = command(capfd, "train", "--max_epochs", 1, "--data.num_rows", 200, "--run_dir", "run")
    assert ended.code == 0


@pytest.mark.parametrize("options", [{"logger": False}, {"figures": False}, {"limit_val_batches": 0}])
def test_when_nothing_is_written(options):
    trainer(**options).fit(Shows(), *loaders())
    assert not Path("run/projector").exists()
    assert not Path("run/projector_config.pbtxt").exists()


def test_without_tensorboard_nothing_is_written_and_nothing_fails(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.setitem(sys.modules, name, None)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*could not")
        history = trainer().fit(Shows(), *loaders())
    assert len(history) == 2
    assert Path("run/figures/confusion_matrix.png").exists()
    assert not Path("run/projector").exists()


def test_a_logger_of_ones_own_has_the_files_beside_its_events():
    logger = pl.loggers.TensorBoardLogger("logs", name="mine", default_hp_metric=False)
    trainer(logger=logger).fit(Shows(), *loaders())
    assert Path("logs/mine/version_0/projector_config.pbtxt").exists()
    assert not Path("run/projector").exists()
