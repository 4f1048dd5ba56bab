"""Makes docs/results.md and its pictures from the shipped models: ``.venv/bin/python -m docs.make_results``.

Needs ``make install`` and ../shared. Takes three minutes on two cores, most of them for ``vdsr``; run again on the same
machine it changes nothing. Figures on the public sets are those of the manifests, which chetko-export measured and
``make bench-quality`` measures anew; text and pictures are computed here. The rows of the classical methods, which take
minutes for a set, are read from docs/classical/*.json, which chetko-evaluate wrote:
``chetko-evaluate kim --data ../shared/benchmarks/Set5 --scale 4 -o docs/classical/kim-Set5-x4.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from training.degradation import Degradation
from training.degraded_pictures import degraded_pairs
from training.evaluation.classical import CLASSICAL
from training.evaluation.cli import TEXT, doubts
from training.evaluation.datasets import Example, examples_of, read_picture
from training.evaluation.lpips import distance
from training.evaluation.measure import Row, measure, published_rows
from training.evaluation.methods import BICUBIC, SHIPPED, Method, method_named, shipped_names
from training.evaluation.report import as_markdown
from training.evaluation.strip import Region, strip

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PUBLISHED = SHARED / "benchmarks" / "published_per_image.json"
MEASURED = ROOT / "docs" / "classical"
SETS = ("Set5", "Set14", "BSD100")
DAMAGED, QUALITY = "Set14", 30

MEANS = {
    "VDSR (published)": {2: (37.53, 33.03, 31.90), 4: (31.35, 28.01, 27.29)},
    "SRResNet (published)": {4: (32.05, 28.49, 27.58)},
    "SRResNet of the original": {2: (36.87, 32.84, 31.97), 4: (31.05, 28.12, 27.15)},
    "SRGAN of the original": {2: (34.17, 31.25, 29.89), 4: (29.20, 26.11, 26.03)},
}
"""Mean PSNR on the three sets where no figures for each picture lie in ../shared: J. Kim 2016 (VDSR), table 2; Ledig
2017 (SRResNet), table 2; and, as the original, the thesis of 2017."""


@dataclass(frozen=True)
class Piece:
    """A region to look at."""

    name: str
    caption: str
    picture: Path
    region: Region
    crop: Region | None = None
    """Of a large picture only this is taken."""
    damaged: int | None = None


GB82, BUDGIE = SHARED / "photos" / "gb82", SHARED / "photos" / "budgie"
PIECES = (
    Piece("face", "A face.", GB82 / "girl-lossless_b6255b.jpg", (332, 84, 160, 160)),
    Piece("text", "Text: a held-out page.", TEXT / "03.png", (0, 40, 160, 160)),
    Piece("fur", "Fur.", GB82 / "dog-lossless_c42673.jpg", (140, 120, 160, 160)),
    Piece("architecture", "Architecture.", BUDGIE / "roman-colosseum_93038c.jpg", (160, 160, 160, 160),
          crop=(320, 360, 480, 480)),
    Piece("jpeg", "Damaged: the small picture was saved as a JPEG of quality 30.", GB82 / "girl-lossless_b6255b.jpg",
          (332, 84, 160, 160), damaged=30),
    Piece("night", "A city at night.", GB82 / "city-lossless_f6ea40.jpg", (60, 140, 160, 160)),
)  # fmt: skip

HEAD = """\
# Results
Made by `.venv/bin/python -m docs.make_results` from the models in `app/models`; needs `../shared`.

## The table
*Italics*: published by others, not computed here. Shipped models have the figures of their manifests, measured by
`chetko-export`; `make bench-quality` measures them anew and fails if one is off by more than 0.01 dB. The bicubic row,
computed too, equals the published one within 0.01 dB in all six columns: that is the proof of the protocol. Names that
tell a training time or a part of a method are ours, to say that it is not what the paper built. `text` is eight pages
in fonts and words that no training page has. The classical methods were computed by `.venv/bin/chetko-evaluate` into
`docs/classical`; ours of Glasner and of sparse coding are 0.9 and 0.8 dB above the published rows, so they bear names
of their own. What the measures see and miss, and why NIQE is not among them: [criteria.md](criteria.md).

"""

FROM_THE_WEB = f"""\
## Pictures from the web
What `restore` is for: {DAMAGED} as above, but every small picture was saved as a JPEG of quality {QUALITY} (4:2:0)
first, grey ones in three channels. The other models enlarge the blocks with the rest.

"""

TAIL = """\
## The pictures
x4, at their own pixels; under each PSNR on luma and LPIPS (lower is closer) of the region. The photographs are CC0
(gianni-rosato/gb82-image-set, BuddiesOfBudgie/budgie-backgrounds); they took no part in training, some chose the best
checkpoint. For another region:

```sh
.venv/bin/python -m training.evaluation.strip app/web/examples/city.jpg espcn fast --region 60 60 160 120 -o strip.png
```
"""


def shipped(scale: int) -> list[Method]:
    """The shipped models that have the scale, baselines first."""
    return [
        method_named(str(SHIPPED / name), scale)
        for name in shipped_names()
        if (SHIPPED / name / f"x{scale}.onnx").is_file()
    ]


def told(method: Method, scale: int) -> list[Row]:
    """What a shipped model's manifest says of the public sets."""
    manifest = json.loads((SHIPPED / method.name / "manifest.json").read_text("utf-8"))
    measured = manifest["scales"][str(scale)]["measured"]
    return [
        Row(
            method.name, method.title, "computed", scale, name, "mean",
            measured[name]["psnr"], measured[name]["ssim"], measured[name]["lpips"], None,
        )
        for name in SETS
    ]  # fmt: skip


def table() -> str:
    """The Markdown tables. Raises ``SystemExit`` when the bicubic row is not the published one."""
    rows: list[Row] = []
    for scale in (2, 4):
        methods = shipped(scale)
        rows += [row for method in methods for row in told(method, scale)]
        rows += measure(methods, "text", examples_of(TEXT, scale), scale, lpips=distance())
        rows += [row for row in classical() if row.scale == scale]
        for name in SETS:
            rows += published_rows(PUBLISHED, name, examples_of(SHARED / "benchmarks" / name, scale), scale)
        rows += [
            Row(title, title, "published", scale, name, "mean", psnr[scale][index], None, None, None)
            for title, psnr in MEANS.items()
            if scale in psnr
            for index, name in enumerate(SETS)
        ]
    for sentence in doubts(rows):
        raise SystemExit(f"make_results: {sentence}")
    return as_markdown(rows, speed=False)


def from_the_web() -> str:
    """The Markdown tables of pictures that were saved as JPEG."""
    rows: list[Row] = []
    for scale in (2, 4):
        sound = examples_of(SHARED / "benchmarks" / DAMAGED, scale)
        pairs = degraded_pairs(((one.small, one.large) for one in sound), scale, Degradation(jpeg=(QUALITY,)))
        examples = [Example(one.name, *pair) for one, pair in zip(sound, pairs, strict=True)]
        rows += measure(shipped(scale), f"{DAMAGED}, JPEG {QUALITY}", examples, scale, lpips=distance())
    return as_markdown(rows, speed=False, protocol=False)


def classical() -> list[Row]:
    """The rows that ``chetko-evaluate`` measured of the classical methods."""
    names = [field.name for field in fields(Row)]
    rows = [
        Row(**{name: row.get(name) for name in names} | {"title": CLASSICAL[row["method"]].title})
        for path in sorted(MEASURED.glob("*.json"))
        for row in json.loads(path.read_text("utf-8"))["pictures"]
        if row["method"] != BICUBIC
    ]
    return sorted(rows, key=lambda row: list(CLASSICAL).index(row.method))


def pictures() -> str:
    """Writes docs/images/results-*.png; returns the Markdown that shows them."""
    lpips, methods = distance(), shipped(4)
    shown = []
    for piece in PIECES:
        sharp = read_picture(piece.picture)
        if piece.crop:
            left, top, width, height = piece.crop
            sharp = sharp[top : top + height, left : left + width]
        made = strip(sharp, piece.region, methods, 4, lpips=lpips, damaged=piece.damaged)
        made.save(ROOT / "docs" / "images" / f"results-{piece.name}.png", optimize=True)
        shown.append(f"![{piece.caption}](images/results-{piece.name}.png)\n\n*{piece.caption}*\n")
    return "\n".join(shown)


def main() -> None:
    content = f"{HEAD}{table()}\n{FROM_THE_WEB}{from_the_web()}\n{TAIL}\n{pictures()}"
    (ROOT / "docs" / "results.md").write_text(content, "utf-8")


if __name__ == "__main__":
    main()
