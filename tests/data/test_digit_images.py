"""Pictures of digits become images as MNIST's are: compared with MNIST's own."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from datamodules.digit_images import as_mnist, ink_of, read_digit
from datamodules.mnist import MNISTDataModule
from lightmodels import MNISTCNN, Trainer
from lightmodels.data.remote_files import DataError


def seven(size=(200, 300), width=24, ink=(20, 20, 60), paper=(240, 235, 220)):
    """A seven drawn with a thick pen, as by hand."""
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


WAYS = {
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


@pytest.mark.parametrize("way", WAYS)
def test_one_drawing_gives_one_image_however_it_is_stored(way):
    expected, got = as_mnist(ink_of(seven())), as_mnist(ink_of(WAYS[way]()))
    # Of 255. All moved by one pixel is 7 to 13, a mirrored seven is 40.
    assert (got.float() - expected.float()).abs().mean() < (8 if way == "twice the size" else 4)


def test_ink_is_scaled_to_the_box_and_its_mass_to_the_middle():
    image = as_mnist(ink_of(seven())).double()
    rows, columns = image.any(dim=1).nonzero().flatten(), image.any(dim=0).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == 20
    assert 9 <= columns[-1] - columns[0] + 1 <= 13  # 124 x 180 pixels of ink: the ratio stays
    places = torch.arange(28.0, dtype=torch.float64)
    for axis in (0, 1):
        centre = (image.sum(dim=axis) * places).sum() / image.sum()
        assert 13.5 <= centre <= 14.5  # as of all 10,000 test images of MNIST
    assert image.max() == 255


@pytest.mark.parametrize("ratio", [(300, 2), (2, 300), (1, 1)])
def test_extreme_shapes_stay_inside(ratio):
    ink = np.zeros((400, 400))
    ink[: ratio[0], : ratio[1]] = 1
    assert as_mnist(ink).shape == (28, 28)
    assert as_mnist(ink).sum() > 0


def test_a_photograph_s_turn_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees when shown
    seven().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    seven().save(tmp_path / "upright.jpg")
    turned, upright = read_digit(tmp_path / "turned.jpg"), read_digit(tmp_path / "upright.jpg")
    assert (turned.float() - upright.float()).abs().mean() < 4


NO_DIGIT = [
    (Image.new("L", (30, 30), 255), "nothing stands out"),
    (Image.new("RGB", (1, 1), (9, 9, 9)), "nothing stands out"),
    (Image.new("RGBA", (30, 30), (0, 0, 0, 255)), "nothing stands out"),
    (Image.new("RGBA", (30, 30), (0, 0, 0, 0)), "it is transparent all over"),
    (Image.fromarray(np.random.default_rng(0).integers(120, 132, (50, 50), dtype=np.uint8)), "nothing"),
    (Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), dtype=np.uint8)), "nothing"),
    (Image.fromarray(np.full((9, 9), np.nan, dtype=np.float32)), "pixels that are not numbers"),
]


@pytest.mark.parametrize(("image", "line"), NO_DIGIT)
def test_a_picture_without_a_digit(image, line):
    with pytest.raises(DataError, match=line):
        ink_of(image)


def png(image=None):
    stream = io.BytesIO()
    (image or seven()).save(stream, "PNG")
    return stream.getvalue()


BROKEN = [
    (b"", "is not an image"),
    (b"hello", "is not an image"),
    (png()[:300], r"is not an image that can be read \("),
    (
        png(Image.new("1", (20_000, 20_000))),
        r"is not an image that can be read \(Image size .* exceeds limit",
    ),
]


@pytest.mark.parametrize(("content", "line"), BROKEN, ids=["empty", "text", "cut", "bomb"])
def test_files_that_are_no_pictures(tmp_path, content, line):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=line):
        read_digit(tmp_path / "a.png")


def test_files_that_are_not_there(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match=r"cannot be read: (No such file|Is a directory)"):
            read_digit(path)


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
    """A quickly trained model, and 300 real test images as uint8 with its classes for them."""
    data = MNISTDataModule(data_dir, val_fraction=0.8)
    torch.manual_seed(0)
    run = tmp_path_factory.mktemp("mnist") / "run"
    trainer = Trainer(gpus=0, max_epochs=1, run_dir=run, limit_val_batches=1, num_sanity_val_steps=0)
    trainer.fit(model := MNISTCNN(), datamodule=data)
    x, y = (part[:300] for part in data.splits.test)
    images = (x[:, 0] * 255).round().to(torch.uint8)
    return model.eval(), images, classes(model, images), y


def classes(model, images):
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


def as_alpha(image):
    return Image.merge("LA", (Image.new("L", (140, 140), 255), enlarged(image)))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("change", "agree"),
    [
        (lambda image: image, 0.98),
        (ImageOps.invert, 0.98),
        (enlarged, 0.96),
        (pasted, 0.96),
        (noisy, 0.96),
        (compressed, 0.96),
        (as_alpha, 0.96),
    ],
    ids=["as is", "inverted", "enlarged", "pasted", "noisy", "compressed", "alpha"],
)
def test_real_digits_are_predicted_as_the_originals(digits, tmp_path, change, agree):
    model, images, expected, y = digits
    assert (expected == y).float().mean() > 0.9
    read = []
    for image in images:
        change(Image.fromarray(image.numpy())).save(tmp_path / "digit.png")
        read.append(read_digit(tmp_path / "digit.png"))
    assert (classes(model, torch.stack(read)) == expected).float().mean() >= agree


@pytest.mark.real_data
def test_real_images_are_hardly_changed(digits):
    _, images, _, _ = digits
    again = torch.stack([as_mnist(ink_of(Image.fromarray(image.numpy()))) for image in images])
    assert (again.float() - images.float()).abs().mean() < 1.5  # of 255
