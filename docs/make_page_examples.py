"""Makes the pictures of the page's example: ``.venv/bin/python -m docs.make_page_examples`` (needs ``make install``).

Written to app/web/examples: ``kitten-bicubic.webp`` and ``kitten-x4.webp``, which the page shows before anything was
computed. Run it again when the default model changes.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, enlarge
from app.inference.registry import Registry, model_folders

EXAMPLES = Path(__file__).resolve().parents[1] / "app/web/examples"
QUALITY = 82  # of a file that is looked at closely, and waited for


def main() -> None:
    """Writes both files."""
    source = (EXAMPLES / "kitten.jpg").read_bytes()
    photo = Image.open(io.BytesIO(source)).convert("RGB")
    bicubic = photo.resize((photo.width * 4, photo.height * 4), Image.Resampling.BICUBIC)
    bicubic.save(EXAMPLES / "kitten-bicubic.webp", quality=QUALITY, method=6)
    target = io.BytesIO()
    with Engine(Registry.load(model_folders(None)), platform="cpu") as engine:
        options = Options(scale=4, format="png", metadata="strip")
        enlarge(io.BytesIO(source), target, options, engine, limits=Limits(None, None))
    Image.open(target).convert("RGB").save(EXAMPLES / "kitten-x4.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
