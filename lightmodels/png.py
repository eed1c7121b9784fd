"""Figures as PNG files and as images of TensorBoard, rendered once for both."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 2


def rendered(figure: "Figure", dpi: int = 100) -> bytes:
    """The figure as the content of a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = BytesIO()
    figure.set_dpi(dpi)
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box
        warnings.simplefilter("ignore")
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(content, pil_kwargs={"compress_level": LEVEL})  # savefig draws twice
    return content.getvalue()


def write(content: bytes, path: Path) -> None:
    """Writes the file as a whole, over an older one; leaves no part of it if the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def log(content: bytes, tag: str, loggers: list[Logger], step: int) -> None:
    """Gives the image to TensorBoard as it is, where ``add_image`` would have it decoded and coded again."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            writer: Any = logger.experiment
            writer._get_file_writer().add_summary(_summary(content, tag), step)


def _summary(content: bytes, tag: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))  # of the PNG's header
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=content)
    return Summary(value=[Summary.Value(tag=tag, image=image)])
