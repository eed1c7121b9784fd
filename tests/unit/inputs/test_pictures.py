"""Picture files as images: size, colors, orientation, transparency, and one line for what cannot be read."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lightmodels.inputs.kinds import inputs_for, is_valid
from lightmodels.inputs.pictures import no_huge_pictures, read_header, read_picture
from lightmodels.utils.data_error import DataError

INFO = {"kind": "picture", "classes": ["a", "b"], "input_shape": [3, 8, 8]}
NOISE = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def saved(array, name="a.png", **options):
    Image.fromarray(array).save(name, **options)
    return name


def test_pixels_of_the_right_size_are_kept():
    square = NOISE[:, :12]
    assert torch.equal(read_picture(saved(square), 3, 12), torch.from_numpy(square).permute(2, 0, 1))
    grey = NOISE[:, :12, 0]
    assert torch.equal(read_picture(saved(grey, "b.png"), 1, 12), torch.from_numpy(grey)[None])
    assert torch.equal(read_picture("b.png", 3, 12), torch.from_numpy(grey).expand(3, 12, 12))


@pytest.mark.parametrize("turned", [False, True], ids=["wide", "high"])
def test_the_shorter_side_is_scaled_and_the_middle_kept(turned):
    picture = np.ascontiguousarray(NOISE.transpose(1, 0, 2)) if turned else NOISE
    whole = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    scaled = F.interpolate(whole, size=(10, 6) if turned else (6, 10), mode="bilinear", antialias=True)[0]
    middle = scaled[:, 2:8] if turned else scaled[:, :, 2:8]
    difference = read_picture(saved(picture), 3, 6).float() - middle
    assert difference.abs().max() <= 1.0  # torch's own resize, up to rounding


def test_exif_turns_a_picture_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    square = np.zeros((16, 16), dtype=np.uint8)
    square[:8] = 255  # bright above, so bright on the right when it is upright
    image = read_picture(saved(square, "a.jpg", exif=exif, quality=100), 1, 16)[0]
    assert image[:, 9:].min() > 200 > 50 > image[:, :7].max()


def test_transparent_pixels_are_white_and_16_bits_keep_their_range():
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[0, :, 3] = 255
    assert read_picture(saved(pixels), 1, 4)[0].tolist() == [[0] * 4] + [[255] * 4] * 3
    deep = np.array([[0, 65535], [257 * 100, 257 * 7]], dtype=np.uint16)
    assert read_picture(saved(deep, "b.png"), 1, 2)[0].tolist() == [[0, 255], [100, 7]]


def test_large_photos_are_decoded_at_a_part_of_their_size_and_look_the_same():
    ramp = np.linspace(0, 255, 640).astype(np.uint8)[None].repeat(640, 0)
    image = read_picture(saved(ramp, "a.jpg", quality=95), 1, 16)[0].float()
    expected = torch.from_numpy(ramp.reshape(16, 40, 16, 40).mean((1, 3)))
    assert (image - expected).abs().max() < 4


@pytest.mark.parametrize(
    ("array", "header"),
    [(NOISE, (12, False)), (NOISE[..., 0], (12, True)), (NOISE[..., 0].astype(np.uint16), (12, True))],
    ids=["color", "grey", "16 bits"],
)
def test_headers_tell_side_and_color(array, header):
    assert read_header(saved(array)) == header


def huge_png():
    """The header of a picture of 50,000 x 50,000 pixels, and next to no data."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"0"))]
    packed = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
              for kind, body in chunks]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def encoded(array, format_="PNG"):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format_)
    return stream.getvalue()


BAD = {
    "missing": (None, "bad.png cannot be read: No such file or directory"),
    "empty": (b"", "bad.png is not an image that can be read (PNG, "),
    "tiff": (encoded(NOISE, "TIFF"), "bad.png is not an image that can be read (PNG, JPEG, BMP, GIF or WebP)"),
    "text": (b"hello", "bad.png is not an image that can be read (PNG, "),
    "cut": (encoded(NOISE)[:400], "bad.png is not an image that can be read ("),
    "huge": (huge_png(), "bad.png is not an image that can be read (Image size (2500000000 pixels) exceeds limit"),
    "large": (encoded(np.zeros((10_000, 9_000), dtype=bool)), "(Image size (90000000 pixels) exceeds limit"),
}


@pytest.mark.parametrize(("content", "line"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_named(tmp_path, content, line):
    saved(NOISE, "good.png")
    if content is not None:
        (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(DataError) as error:
        inputs_for(INFO).convert(["good.png", "bad.png"])
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_limit_on_pixels_holds_within_its_context_only():
    import warnings

    before = list(warnings.filters)
    with no_huge_pictures():
        assert warnings.filters != before
    assert warnings.filters == before


def test_a_model_takes_files_as_their_pixels_are():
    saved(NOISE, "one.png")
    saved(NOISE[:8, :8], "two.png")
    inputs = inputs_for(INFO)
    sources, raw = inputs.read(["one.png", "two.png"])
    assert [str(source) for source in sources] == ["one.png", "two.png"]
    assert torch.equal(raw[1], torch.from_numpy(NOISE[:8, :8]).permute(2, 0, 1))
    assert inputs.preprocess(raw) is inputs.restore(raw) is raw
    assert inputs.random(5).shape == (5, 3, 8, 8)
    assert inputs.random(5).dtype == torch.uint8


@pytest.mark.parametrize(
    "change",
    [{"input_shape": shape} for shape in ([2, 8, 8], [3, 8, 9], [3, 8], [1, 0, 0], [1, "8", "8"], [1, 10**6, 10**6])]
    + [{"classes": [1, 2]}, {"classes": None}],
    ids=lambda change: str(*change.values()),
)
def test_other_descriptions_are_refused(change):
    assert is_valid(INFO)
    assert not is_valid(INFO | change)
