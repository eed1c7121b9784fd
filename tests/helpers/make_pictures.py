"""Makes the README's pictures from a real run: PYTHONPATH=tests python tests/helpers/make_pictures.py

Needs Chromium and its driver. The pictures are those of docs/pictures.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from helpers import ROOT
from helpers.browser import chromium, tensorboard


def save_small(path: Path, name: str, width: int) -> None:
    """Saves a picture of that width with 64 colours."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((width, picture.height), Image.Resampling.LANCZOS)
    picture.quantize(64).save(ROOT / "docs" / "pictures" / name, optimize=True)


with tempfile.TemporaryDirectory() as directory:
    os.chdir(directory)  # the page shows the path
    run_dir = Path("runs", "ring")
    subprocess.run([sys.executable, ROOT / "scripts" / "train.py", "--run_dir", run_dir], check=True)
    save_small(run_dir / "figures" / "decision_boundary.png", "ring_boundary.png", 640)
    with tensorboard("runs") as address, chromium(1200, 760) as window:
        window.get(f"{address}#custom_scalars")
        time.sleep(8)
        window.save_screenshot("dashboard.png")
    save_small(Path("dashboard.png"), "dashboard.png", 900)
