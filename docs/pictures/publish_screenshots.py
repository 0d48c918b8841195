"""The browser tests' screenshots as small pictures of the documentation. `make screenshots`.

publish_screenshots.py FOLDER       FOLDER holds what `make test-browser PICTURES=FOLDER` made
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
NAMES = ("predict", "data", "models", "monitoring", "models-390-dark")
MOST_BYTES = 150_000


def main(folder: Path) -> None:
    for name in NAMES:
        target = HERE / f"web-{name}.webp"
        with Image.open(folder / f"{name}.png") as picture:
            picture.convert("RGB").save(target, "WEBP", quality=82, method=6)
        size = target.stat().st_size
        if size > MOST_BYTES:
            sys.exit(
                f"error: {target.name} has {size:,} bytes, more than {MOST_BYTES:,}\nfix: take a smaller picture of {name}"
            )
        sys.stderr.write(f"docs/pictures/{target.name}: {size:,} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
