"""Pictures of digits are turned into images like those of MNIST, and compared with MNIST itself."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from datamodules.mnist import MNISTDataModule
from lightmodels import MNISTCNN, Trainer
from lightmodels.inputs.digit_images import extract_ink, read_digit, to_mnist
from lightmodels.utils.data_error import DataError


def seven(size=(200, 300), width=24, ink=(20, 20, 60), paper=(240, 235, 220)):
    """A seven as if drawn by hand with a thick pen."""
    image = Image.new("RGB", size, paper)
    points = [(50, 60), (150, 62), (120, 140), (90, 240)]
    ImageDraw.Draw(image).line(points, fill=ink, width=width, joint="curve")
    return image


def alpha_seven(ink):
    image = Image.new("RGBA", (200, 300), (*ink, 0))
    image.putalpha(ImageOps.invert(seven(ink=(0, 0, 0), paper=(255, 255, 255)).convert("L")))
    return image


def palette_with_transparency():
    image = Image.fromarray((np.asarray(seven().convert("L")) < 128).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 255, 255, 255])
    image.info["transparency"] = 0
    return image


FORMATS = {
    "grey": lambda: seven().convert("L"),
    "light on dark": lambda: ImageOps.invert(seven()),
    "low contrast": lambda: seven(ink=(150, 150, 150), paper=(200, 200, 200)),
    "palette": lambda: seven().quantize(16),
    "black and white": lambda: seven().convert("1", dither=Image.Dither.NONE),
    "cmyk": lambda: seven().convert("CMYK"),
    "16 bits": lambda: Image.fromarray(np.asarray(seven().convert("L"), dtype=np.uint16) * 257),
    "floats": lambda: Image.fromarray(np.asarray(seven().convert("L"), dtype=np.float32) / 255),
    "opaque alpha": lambda: seven().convert("RGBA"),
    "black alpha ink": lambda: alpha_seven((0, 0, 0)),
    "white alpha ink": lambda: alpha_seven((255, 255, 255)),
    "transparent colour": palette_with_transparency,
    "elsewhere": lambda: ImageOps.expand(seven(), (300, 10, 0, 200), fill=(240, 235, 220)),
    "twice the size": lambda: seven().resize((400, 600), Image.Resampling.BICUBIC),
}


@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_of_one_drawing_give_the_same_image(name):
    expected, got = to_mnist(extract_ink(seven())), to_mnist(extract_ink(FORMATS[name]()))
    # Of 255. A shift by one pixel gives 7 to 13, a mirrored seven 40.
    assert (got.float() - expected.float()).abs().mean() < (8 if name == "twice the size" else 4)


def test_ink_is_scaled_to_the_box_and_centered_by_mass():
    image = to_mnist(extract_ink(seven())).double()
    rows, columns = image.any(dim=1).nonzero().flatten(), image.any(dim=0).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == 20
    assert 9 <= columns[-1] - columns[0] + 1 <= 13  # 124 x 180 pixels of ink: the ratio stays
    places = torch.arange(28.0, dtype=torch.float64)
    for axis in (0, 1):
        centre = (image.sum(dim=axis) * places).sum() / image.sum()
        assert 13.5 <= centre <= 14.5  # as of all 10,000 test images of MNIST
    assert image.max() == 255


@pytest.mark.parametrize("ratio", [(300, 2), (2, 300), (1, 1)])
def test_extreme_shapes_fit_into_the_image(ratio):
    ink = np.zeros((400, 400))
    ink[: ratio[0], : ratio[1]] = 1
    assert to_mnist(ink).shape == (28, 28)
    assert to_mnist(ink).sum() > 0


def test_the_rotation_of_a_photograph_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees
    seven().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    seven().save(tmp_path / "upright.jpg")
    turned, upright = read_digit(tmp_path / "turned.jpg"), read_digit(tmp_path / "upright.jpg")
    assert (turned.float() - upright.float()).abs().mean() < 4


NO_DIGIT = [
    (Image.new("L", (30, 30), 255), "nothing stands out"),
    (Image.new("RGB", (1, 1), (9, 9, 9)), "nothing stands out"),
    (Image.new("RGBA", (30, 30), (0, 0, 0, 255)), "nothing stands out"),
    (Image.new("RGBA", (30, 30), (0, 0, 0, 0)), "it is completely transparent"),
    (Image.fromarray(np.random.default_rng(0).integers(120, 132, (50, 50), dtype=np.uint8)), "nothing"),
    (Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), dtype=np.uint8)), "nothing"),
    (Image.fromarray(np.full((9, 9), np.nan, dtype=np.float32)), "pixels that are not numbers"),
]


@pytest.mark.parametrize(("image", "line"), NO_DIGIT)
def test_pictures_without_a_digit_are_refused(image, line):
    with pytest.raises(DataError, match=line):
        extract_ink(image)


def png(image=None):
    stream = io.BytesIO()
    (image or seven()).save(stream, "PNG")
    return stream.getvalue()


BROKEN = [
    (lambda: b"", "is not an image"),
    (lambda: b"hello", "is not an image"),
    (lambda: png()[:300], r"is not an image that can be read \("),
    (lambda: png(Image.new("1", (13_500, 13_500))), r"is not .* that can be read \(Image size .* exceeds limit"),
]


@pytest.mark.parametrize(("content", "line"), BROKEN, ids=["empty", "text", "cut", "bomb"])
def test_files_that_are_not_images_are_refused(tmp_path, content, line):
    (tmp_path / "a.png").write_bytes(content())
    with pytest.raises(DataError, match=line):
        read_digit(tmp_path / "a.png")


def test_missing_files_and_directories_are_refused(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match=r"cannot be read: (No such file|Is a directory)"):
            read_digit(path)


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
    """A briefly trained model, and 300 real test images as uint8 with its predictions for them."""
    data = MNISTDataModule(data_dir, val_fraction=0.8)
    torch.manual_seed(0)
    run = tmp_path_factory.mktemp("mnist") / "run"
    trainer = Trainer(gpus=0, max_epochs=1, run_dir=run, limit_val_batches=1, num_sanity_val_steps=0)
    trainer.fit(model := MNISTCNN(), datamodule=data)
    x, y = (part[:300] for part in data.splits.test)
    images = (x[:, 0] * 255).round().to(torch.uint8)
    return model.eval(), images, predict(model, images), y


def predict(model, images):
    with torch.inference_mode():
        return model(images.unsqueeze(1).float() / 255).argmax(dim=1)


def enlarged(image):
    return image.resize((140, 140), Image.Resampling.BICUBIC)


def pasted(image):
    return ImageOps.expand(enlarged(image).convert("RGB"), (100, 7, 30, 150))


def noisy(image):
    pixels = 200 - 0.5 * np.asarray(enlarged(image), dtype=np.float64)
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def compressed(image):
    stream = io.BytesIO()
    ImageOps.invert(enlarged(image)).save(stream, "JPEG", quality=60)
    return Image.open(stream)


@pytest.mark.real_data
@pytest.mark.parametrize("change", [Image.Image.copy, pasted, noisy, compressed])
def test_pictures_of_real_digits_are_predicted_like_the_originals(digits, tmp_path, change):
    model, images, expected, y = digits
    assert (expected == y).float().mean() > 0.9
    read = []
    for image in images:
        change(Image.fromarray(image.numpy())).save(tmp_path / "digit.png")
        read.append(read_digit(tmp_path / "digit.png"))
    agreeing = (predict(model, torch.stack(read)) == expected).float().mean()
    if change is Image.Image.copy:
        assert agreeing >= 0.98
        assert (torch.stack(read).float() - images.float()).abs().mean() < 1.5  # of 255
    else:
        assert agreeing >= 0.96
