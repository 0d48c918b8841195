"""The browser tests' screenshots as small pictures of the documentation. `make screenshots`.

publish_screenshots.py FOLDER       FOLDER holds what `make test-browser PICTURES=FOLDER` made
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
TOP = 900  # of a page that goes on and on
NAMES = {
    "predict-1280-light": 0,
    "predict-1280-dark": 0,
    "predict-390-light": 0,
    "predict-390-dark": 0,
    "data-running": 0,
    "data": 0,
    "models": 0,
    "models-trial": 0,
    "models-390-dark": TOP,
    "monitoring": 0,
}  # how much of the height is shown; 0: all
MOST_BYTES = 150_000


def main(folder: Path) -> None:
    for name, height in NAMES.items():
        target = HERE / f"web-{name}.webp"
        with Image.open(folder / f"{name}.png") as picture:
            shown = picture.crop((0, 0, picture.width, height)) if height else picture
            shown.convert("RGB").save(target, "WEBP", quality=82, method=6)
        size = target.stat().st_size
        if size > MOST_BYTES:
            sys.exit(
                f"error: {target.name} has {size:,} bytes, more than {MOST_BYTES:,}\nfix: take a smaller picture of {name}"
            )
        sys.stderr.write(f"docs/pictures/{target.name}: {size:,} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
