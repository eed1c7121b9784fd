"""docs/messages.md: every message that it explains exists, and every error class is on it."""

import ast
import re

from helpers import ROOT

PAGE = (ROOT / "docs" / "messages.md").read_text()
TREES = [ast.parse(path.read_text()) for path in (ROOT / "lightmodels").rglob("*.py")]


def as_written(node):
    """A string as the page writes it: … for each value."""
    if isinstance(node, ast.JoinedStr):
        return "".join(as_written(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


def test_every_message_of_the_page_is_one_of_the_code():
    strings = {as_written(node) for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}
    strings |= {node.value for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Constant)} - {None}
    code = "\n".join(text for text in strings if isinstance(text, str))
    messages = re.findall(r"^\| `([^`|]* [^`|]*)` \|", PAGE, re.MULTILINE)
    assert len(messages) > 50
    parts = {part.strip() for message in messages for part in message.split("…")}
    assert sorted(part for part in parts if part not in code) == []


def test_every_error_class_is_on_the_page():
    classes = {node.name for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    errors = {name for name in classes if re.match(r"[A-Z]\w*Error$", name)} - {"LimitError", "NotCompilableError"}
    assert len(errors) > 5
    assert sorted(name for name in errors if f"`{name}`" not in PAGE) == []
