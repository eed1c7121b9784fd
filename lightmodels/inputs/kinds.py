"""The kinds of data that models can be given raw, by the ``"kind"`` of their ``data_info``."""

from typing import Any

from lightmodels.inputs.base import Inputs
from lightmodels.inputs.digit_images import Digits
from lightmodels.inputs.frames import Frames
from lightmodels.inputs.pictures import Pictures
from lightmodels.inputs.rows import Rows
from lightmodels.inputs.texts import Texts

KINDS: dict[str, type[Inputs]] = {
    "table": Rows, "frame": Frames, "image": Digits, "picture": Pictures, "text": Texts
}  # fmt: skip


def inputs_for(info: dict[str, Any]) -> Inputs:
    """How to turn raw data into inputs, as an info of a known kind describes it."""
    return KINDS[info["kind"]](info)


def is_valid(info: Any) -> bool:
    """Whether raw data can be prepared as an info, which may come from a file, describes it."""
    kind = KINDS.get(str(info.get("kind"))) if isinstance(info, dict) else None
    if kind is None or any(type(info.get(name)) is not expected for name, expected in kind.required.items()):
        return False
    names = [*(info.get("classes") or []), *(info.get("features") or [])]
    return all(type(name) is str for name in names) and kind.is_valid(info)
