"""Pictures from folders and tables: splits, sizes, colors, weights, random changes, and a line for what is wrong."""

import warnings
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.utils.class_weight import compute_sample_weight

from lightmodels import ImageCNN, ImageFolderDataModule, Trainer
from lightmodels.data.picture_files import PictureFiles
from lightmodels.metrics.report import evaluation_report
from lightmodels.utils.data_error import DataError


def picture(path, value=0, size=(8, 8), mode="L"):
    """A picture of its own, whose first pixel is its number."""
    pixels = np.full((*size[::-1], 3), (200 - value) % 256, dtype=np.uint8)
    pixels[0, 0] = value
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def folder(root="photos", counts=(("cat", 20), ("dog", 10)), first=0, **options):
    number = first
    for name, count in counts:
        for _ in range(count):
            picture(f"{root}/{name}/{number:03}.png", number, **options)
            number += 1
    return root


def numbers(part):
    """The numbers of the pictures in a part of the data."""
    return part[0][: len(part[0])][:, 0, 0, 0].tolist()


@pytest.mark.parametrize("limit", [4.0, 1e-9], ids=["in memory", "batch by batch"])
def test_each_picture_is_in_one_part_and_each_class_in_all(limit):
    data = ImageFolderDataModule(folder(), max_memory_gb=limit, num_workers=2, seed=3)
    found = {name: numbers(part) for name, part in data.splits._asdict().items()}
    assert sorted(chain(*found.values())) == list(range(30))
    assert {name: len(part) for name, part in found.items()} == {"train": 21, "val": 3, "test": 6}
    for name, (images, labels) in data.splits._asdict().items():
        assert isinstance(images, PictureFiles if limit < 1 else torch.Tensor)
        assert labels.tolist() == [int(number >= 20) for number in found[name]]  # cats come first
        assert set(labels.tolist()) == {0, 1}
    again = ImageFolderDataModule("photos", seed=3)
    assert {name: numbers(part) for name, part in again.splits._asdict().items()} == found
    assert numbers(ImageFolderDataModule("photos", seed=4).splits.test) != found["test"]


def test_files_within_folders_count_and_hidden_or_other_files_do_not():
    folder()
    for name in (".hidden.png", "notes.txt", ".trash/1.png"):
        picture("new.png", 99)
        Path(f"photos/cat/{name}").parent.mkdir(exist_ok=True)
        Path("new.png").rename(f"photos/cat/{name}")
    Path("photos/.git").mkdir()
    picture("photos/dog/more/deep/A.JPG", 30)
    data = ImageFolderDataModule("photos")
    assert sum(len(part[0]) for part in data.splits) == 31
    assert data.info["classes"] == ["cat", "dog"]
    assert data.sizes == {"num_classes": 2, "channels": 1}


def test_folders_train_val_and_test_are_the_parts():
    for name, first in (("train", 0), ("val", 100), ("test", 200)):
        folder(f"data/{name}", first=first, counts=[("b", 3), ("a", 3)])
    data = ImageFolderDataModule("data")
    assert sorted(numbers(data.splits.train)) == [*range(6)]
    assert sorted(numbers(data.splits.val)) == [*range(100, 106)]
    assert numbers(data.splits.test) == [203, 204, 205, 200, 201, 202]  # in the order of the files
    assert data.splits.test[1].tolist() == [0, 0, 0, 1, 1, 1]
    folder("others", first=50, counts=[("a", 1), ("b", 1)])
    assert numbers(ImageFolderDataModule("data", test_path="others").splits.test) == [50, 51]


@pytest.mark.parametrize(
    ("classes", "names"),
    [((True, False), ["False", "True"]), ((7, 3), ["3", "7"]), (("é b", "a"), ["a", "é b"])],
    ids=["booleans", "numbers", "texts"],
)
def test_a_table_names_files_beside_it_and_classes_of_any_kind(classes, names):
    folder("set/files", counts=[("x", 20)])
    rows = [f"{classes[number % 2]};files/x/{number:03}.png" for number in range(20)]
    Path("set/list.csv").write_text("\n".join(["kind;file", *rows]), encoding="utf-8-sig")
    data = ImageFolderDataModule("set/list.csv", image="file", target="kind")
    assert data.info["classes"] == names
    for images, labels in data.splits:
        expected = [names.index(str(classes[number % 2])) for number in numbers((images,))]
        assert labels.tolist() == expected


@pytest.mark.parametrize(
    ("sizes", "side"),
    [([(28, 28)], 28), ([(30, 13)], 13), ([(30, 20), (20, 30), (40, 60)], 16), ([(9, 9), (5, 5)], 8),
     ([(200, 300)], 128)],
    ids=["same", "same short side", "median", "tiny", "large"],
)  # fmt: skip
def test_the_default_size_follows_from_the_pictures(sizes, side):
    for number in range(12):
        picture(f"photos/{'ab'[number % 2]}/{number}.png", number, sizes[number % len(sizes)])
    assert ImageFolderDataModule("photos").info["input_shape"] == [1, side, side]
    assert ImageFolderDataModule("photos", size=10).splits.train[0].shape[1:] == (1, 10, 10)


def test_one_color_picture_makes_all_images_color_ones():
    folder()
    assert ImageFolderDataModule("photos").info["input_shape"] == [1, 8, 8]
    assert ImageFolderDataModule("photos", color="color").sizes["channels"] == 3
    picture("photos/cat/000.png", 0, mode="RGB")
    assert ImageFolderDataModule("photos").info["input_shape"] == [3, 8, 8]
    assert ImageFolderDataModule("photos", color="grey").info["input_shape"] == [1, 8, 8]


def test_balanced_weights_are_those_of_scikit_learn_on_the_training_rows():
    train, val, test = ImageFolderDataModule(folder(), class_weights="balanced").splits
    expected = compute_sample_weight("balanced", train[1].numpy())
    assert train[2].tolist() == pytest.approx(expected.tolist())
    assert len(val) == len(test) == 2


@pytest.mark.parametrize("limit", [4.0, 1e-9], ids=["in memory", "batch by batch"])
def test_a_table_says_several_labels_and_weights(limit):
    """The weight of a picture is its number."""
    folder("files", counts=[("x", 30)])
    labels = ["a; b" if number % 3 else "b" for number in range(30)]
    lines = [f"files/x/{number:03}.png,{label},{number}" for number, label in enumerate(labels)]
    Path("list.csv").write_text("\n".join(["path,label,w", *lines]))
    Path("files/x/007.png").write_bytes(b"")
    options = {"separator": ";", "sample_weight": "w", "max_memory_gb": limit, "num_workers": 0}
    data = ImageFolderDataModule("list.csv", **options)
    with pytest.warns(UserWarning, match=r"^1 of 30 pictures are left out, the first: files.x.007\.png"):
        parts = data.splits
    assert (data.info["classes"], data.info["multi_label"]) == (["a", "b"], True)
    assert data.sizes["num_classes"] == 2
    assert sorted(chain(*map(numbers, parts))) == [number for number in range(30) if number != 7]
    for part in parts:
        assert part[1].tolist() == [[float(number % 3 > 0), 1.0] for number in numbers(part)]
        assert part[2].tolist() == numbers(part)
    model = ImageCNN(**data.sizes, width=8, blocks=1)
    Trainer(gpus=0, logger=False, enable_checkpointing=False, max_epochs=2).fit(model, data)
    assert model.predict(["files/x/003.png"]).multi_label
    report = evaluation_report(parts.test[1], Trainer(gpus=0, logger=False).predict(model, datamodule=data), ["a", "b"])
    assert report.values["classes"]["b"]["rows"] == len(parts.test[1])
    with pytest.raises(DataError, match=r"^files is a folder, which has no column 'w'$"):
        _ = ImageFolderDataModule("files", sample_weight="w").splits


def test_named_changes_are_made_of_training_images_only():
    images = torch.randint(256, (64, 3, 8, 8), dtype=torch.uint8)
    torch.manual_seed(0)
    flipped = ImageFolderDataModule("photos", augment="flip").augment_batch(images)
    assert flipped.dtype == torch.uint8
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert (mirrored | (flipped == images).flatten(1).all(1)).all()
    assert 16 < mirrored.sum() < 48
    for augment in ("shift", "both"):
        data = ImageFolderDataModule(folder(), augment=augment)
        changed = data.augment_batch(images)
        assert changed.is_floating_point()
        assert 0 <= changed.min() < changed.max() <= 1
        assert data.train_dataloader().transform == data.augment_batch
        assert data.val_dataloader().transform is data.test_dataloader().transform is None
    ones = torch.full((4, 1, 8, 8), 255, dtype=torch.uint8)
    torch.testing.assert_close(data.augment_batch(ones), torch.ones(4, 1, 8, 8))  # no dark frames


@pytest.mark.parametrize("limit", [4.0, 1e-9], ids=["in memory", "batch by batch"])
def test_torchvisions_transforms_change_each_image_by_itself_and_the_same_after_a_resume(limit):
    from torchvision.transforms import v2

    change = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomRotation(30), v2.ToDtype(torch.float32, scale=True)])
    options = {"augment": change, "batch_size": 8, "max_memory_gb": limit, "num_workers": 0}
    data = ImageFolderDataModule(folder(), **options)
    assert "augment" not in data.hparams
    assert data.hparams["path"] == "photos"
    loader = data.train_dataloader()
    whole = [x for x, _ in loader]
    first = {tuple(image[0, 0].tolist()) for image in whole[0]}
    assert len(first) > 4
    loader.load_state_dict({"epoch": 0, "batch": 1})
    assert all(torch.equal(a, b) for (a, _), b in zip(loader, whole[1:], strict=True))
    assert next(iter(data.val_dataloader()))[0].dtype == torch.uint8


def broken(count):
    for number in range(count):
        Path(f"photos/cat/{number:03}.png").write_bytes(Path(f"photos/cat/{number:03}.png").read_bytes()[:60])


@pytest.mark.parametrize("limit", [4.0, 1e-9], ids=["in memory", "batch by batch"])
def test_a_few_bad_pictures_are_left_out_with_a_warning(limit):
    folder()
    broken(2)
    Path("photos/dog/020.png").write_text("no picture")
    with pytest.warns(UserWarning, match=r"3 of 30 pictures are left out, the first: photos.dog.020\.png is not an im"):
        splits = ImageFolderDataModule("photos", max_memory_gb=limit).splits
    assert sorted(chain(*map(numbers, splits))) == [number for number in range(2, 30) if number != 20]
    for images, labels in splits:
        assert labels.tolist() == [int(number >= 20) for number in numbers((images,))]


@pytest.mark.parametrize("in_header", [True, False])
def test_too_many_bad_pictures_are_refused(in_header):
    folder()
    broken(4)
    for number in range(4 * in_header):
        Path(f"photos/cat/{number:03}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"^4 of 30 pictures cannot be read, the first: photos.cat.00\d\.png is not an"):
        _ = ImageFolderDataModule("photos").splits


def test_test_images_that_are_training_images_are_counted():
    folder("data/train", counts=[("a", 5), ("b", 5)])
    folder("data/val", counts=[("a", 1), ("b", 1)], first=200)
    folder("data/test", counts=[("a", 3)], first=2)
    folder("data/test", counts=[("b", 2)], first=100)
    with pytest.warns(UserWarning, match="^data: 3 of 5 test images are training images too$"):
        _ = ImageFolderDataModule("data").splits


def table(text):
    folder("files", counts=[("x", 4)])
    Path("list.csv").write_text(text)
    return "list.csv"


def lost_class():
    folder(counts=[("cat", 20), ("dog", 20), ("emu", 2)])
    for path in Path("photos/emu").iterdir():
        path.write_bytes(b"")
    return "photos"


BAD = {
    "no folder": (lambda: "nowhere", "nowhere: no such folder or table"),
    "no folders": (lambda: Path("photos").mkdir() or "photos", "photos has no folder per class, such as photos/cat"),
    "empty": (lambda: Path(folder(), "emu").mkdir() or "photos", "photos/emu has no pictures (.jpg, "),
    "one class": (lambda: folder(counts=[("cat", 9)]), "photos: all rows are of one class, 'cat'"),
    "one picture": (
        lambda: folder(counts=[("cat", 9), ("dog", 1)]),
        "photos: class 'dog' has one row only; add rows, or remove it",
    ),
    "no picture left": (lambda: lost_class(), "photos: class 'emu' has no training rows (0 rows in all)"),
    "new class": (
        lambda: folder("a/test", counts=[("emu", 2)]) and folder("a/train") and "a",
        "a/test: 'emu' is not a class of the training data",
    ),
    "no column": (lambda: table("file,label\nx,y\n"), "list.csv has no column 'path' (image); it has 'file', 'label'"),
    "no class": (
        lambda: table("path,label\nfiles/x/000.png,a\nfiles/x/001.png,\n"),
        "list.csv row 2, column 'label': the target is missing (in 1 of 2 rows)",
    ),
    "no file": (
        lambda: table("path,label\nfiles/x/000.png,a\nfiles/x/y.png,b\nz.png,b\n"),
        "list.csv row 2: there is no file files/x/y.png (2 of 3 files are missing)",
    ),
    "no rows": (lambda: table("path,label\n"), "list.csv has no rows"),
}


@pytest.mark.parametrize(("make", "line"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_named_in_one_line(make, line):
    with pytest.raises(DataError) as error:
        _ = ImageFolderDataModule(make()).splits
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"size": 0}, "size must be 1..4096, got 0"),
        ({"test_fraction": 1.0}, "test_fraction must be between 0 and 1, got 1.0"),
        ({"val_fraction": 0.0}, "val_fraction must be between 0 and 1"),
        ({"augment": "turn"}, "augment must be none, flip, shift, both, or a function of an image, got 'turn'"),
        ({"max_memory_gb": 0}, "max_memory_gb must be a finite number above 0"),
        ({"num_workers": -1}, "num_workers must be at least 0"),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_bad_arguments_are_named(options, line):
    with pytest.raises(ValueError, match="must be") as error:
        ImageFolderDataModule("photos", **options)
    assert str(error.value).startswith(line)


def test_nothing_is_said_of_good_pictures():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = ImageFolderDataModule(folder()).splits
