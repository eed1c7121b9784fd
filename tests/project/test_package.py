"""The package's metadata agree with each other."""

import re

import yaml
from helpers import ROOT

import lightmodels


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lightmodels.__version__
    wheels = re.findall(r"lightmodels-([\d.]+)-py3", (ROOT / "docs" / "index.md").read_text())
    assert set(wheels) == {lightmodels.__version__}


def test_the_lock_file_pins_what_constraints_pins_each_with_a_hash():
    lock = re.split(r"\n(?=\w)", (ROOT / "requirements.lock").read_text())[1:]
    assert all("--hash=sha256:" in pin for pin in lock)
    pins = [pin.partition(" \\")[0] for pin in lock]
    assert pins == (ROOT / "constraints.txt").read_text().splitlines()[1:]
