"""Pages of text to train with: what photographs lack, and what people want to read in small pictures.

Every page is drawn from its seed: paper, ink, columns, sizes and words. Words are those of pangrams in languages of the
Latin and Cyrillic scripts, shuffled, with figures and signs between them: letters matter here, sense does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Image8 = npt.NDArray[np.uint8]

FONT_FOLDER = Path("/usr/share/fonts")
HELD_OUT = "Liberation"
"""Font files whose names begin so are never trained with: the held-out pages are set in them."""
SMALLEST, LARGEST = 9, 44
"""Pixels of a font's size; at x4 the smaller ones are under 3 px, which nothing can read again."""

TEXTS = (
    "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs. How vexingly quick daft "
    "zebras jump! Bright vixens jump; dozy fowl quack.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Falsches Üben von Xylophonmusik quält jeden "
    "größeren Zwerg.",
    "Portez ce vieux whisky au juge blond qui fume. Voix ambiguë d'un cœur qui, au zéphyr, préfère les jattes de "
    "kiwis.",
    "El veloz murciélago hindú comía feliz cardillo y kiwi. La cigüeña tocaba el saxofón detrás del palenque de paja.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний даст мощный "
    "толчок подъёму сельского хозяйства.",
    "В чащах юга жил бы цитрус? Да, но фальшивый экземпляр! Эх, чужак, общий съём цен шляп (юфть) - вдрызг!",
    "Чуєш їх, доцю, га? Кумедна ж ти, прощайся без ґольфів! Жебракують філософи при ґанку церкви в Гадячі.",
    "Под южно дърво, цъфтящо в синьо, бягаше малко пухкаво зайче. Фучи ћерка, а џеп љуља ђаво.",
)  # fmt: skip
HELD_OUT_TEXTS = (
    "Sphinx of black quartz, judge my vow. Waltz, bad nymph, for quick jigs vex. Jackdaws love my big sphinx of "
    "quartz; five wizards boxed.",
    "Любя, съешь щипцы, вздохнёт мэр, кайф жгуч. Шеф взъярён тчк щипцы с эхом гудбай жюль. Аэрофотосъёмка ландшафта "
    "уже выявила земли богачей.",
)  # fmt: skip
SIGNS = (
    "№ 7",
    "12.05.1987",
    "3,141592",
    "(?)",
    "§ 46",
    "100 %",
    "+7 495 123-45-67",
    "[16x]",
    "8:30",
    "€ 19.99",
    "a@b.org",
)


class FontsError(Exception):
    """There is no font to set pages in; the message says what to install."""


def training_fonts(folder: Path = FONT_FOLDER) -> list[Path]:
    """The upright and slanted fonts under ``folder`` that have Latin and Cyrillic letters, without ``HELD_OUT``, by
    path. Raises ``FontsError`` when there is none."""
    found = [path for path in _fonts(folder) if not path.name.startswith(HELD_OUT)]
    fonts = [path for path in found if _has_letters(path)]
    if not fonts:
        raise FontsError(
            f"{folder} holds no font with Latin and Cyrillic letters: apt-get install fonts-dejavu fonts-noto-core "
            "fonts-paratype, or name another folder with --fonts"
        )
    return fonts


def held_out_fonts(folder: Path = FONT_FOLDER) -> list[Path]:
    """The fonts of the held-out pages. Raises ``FontsError`` when they are not installed."""
    fonts = [path for path in _fonts(folder) if path.name.startswith(HELD_OUT)]
    if not fonts:
        raise FontsError(f"{folder} holds no {HELD_OUT} fonts: apt-get install fonts-liberation")
    return fonts


def _fonts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".ttf", ".otf"})


def _has_letters(path: Path) -> bool:
    """Whether the font draws Cyrillic and Latin letters as something else than its sign for a missing one."""
    try:
        font = ImageFont.truetype(path, 24)
        missing = bytes(font.getmask("\uffff"))
        drawn = [bytes(font.getmask(letter)) for letter in "ЖяїgQ"]
    except OSError:
        return False
    return len(set(drawn)) == len(drawn) and missing not in drawn and b"" not in drawn


def page(seed: int, fonts: Sequence[Path], *, height: int = 480, width: int = 640, held_out: bool = False) -> Image8:
    """A page, (height, width, 3) RGB: the same for the same seed, fonts and FreeType.

    ``held_out`` takes the texts that no training page has.
    """
    random = np.random.default_rng([seed, 1 if held_out else 0])
    paper, ink = _colours(random)
    sheet = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(sheet)
    texts = HELD_OUT_TEXTS if held_out else TEXTS
    columns = int(random.integers(1, 4))
    column_width = width // columns
    for column in range(columns):
        top = int(random.integers(2, 16))
        left = column * column_width + int(random.integers(3, 12))
        right = (column + 1) * column_width - 4
        while top < height:
            # Small sizes more often: a page has more small print than headings.
            size = round(SMALLEST * (LARGEST / SMALLEST) ** float(random.beta(1.0, 2.2)))
            font = ImageFont.truetype(fonts[int(random.integers(len(fonts)))], size)
            colour = _other_ink(random, paper) if random.random() < 0.15 else ink
            spacing = float(random.uniform(1.1, 1.5))
            words = _words(random, texts)
            for _ in range(int(random.integers(1, 7))):
                line = _line(words, font, right - left)
                draw.text((left, top), line, colour, font)
                top += round(size * spacing)
            if random.random() < 0.2:
                draw.line((left, top, right, top), fill=colour, width=int(random.integers(1, 3)))
            top += int(random.integers(2, 10))
    return np.asarray(sheet)


def _colours(random: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Paper and ink: mostly dark on light, a quarter the other way round, a few in colour."""
    light = tuple(int(level) for level in random.integers(225, 256, 3)) if random.random() < 0.5 else (255, 255, 255)
    dark = tuple(int(level) for level in random.integers(0, 60, 3)) if random.random() < 0.5 else (0, 0, 0)
    if random.random() < 0.1:
        light = tuple(int(level) for level in random.integers(150, 256, 3))
    return (dark, light) if random.random() < 0.25 else (light, dark)


def _other_ink(random: np.random.Generator, paper: tuple[int, ...]) -> tuple[int, ...]:
    low, high = (140, 256) if sum(paper) < 384 else (0, 130)
    return tuple(int(level) for level in random.integers(low, high, 3))


def _words(random: np.random.Generator, texts: Sequence[str]) -> list[str]:
    words = [*texts[int(random.integers(len(texts)))].split(), SIGNS[int(random.integers(len(SIGNS)))]]
    random.shuffle(words)
    return words


def _line(words: list[str], font: ImageFont.FreeTypeFont, width: int) -> str:
    """As many of ``words``, from the first on, as fit into ``width`` pixels, at least one; they move to the end."""
    line = words[0]
    words.append(words.pop(0))
    while font.getlength(f"{line} {words[0]}") <= width:
        line = f"{line} {words[0]}"
        words.append(words.pop(0))
    return line


HELD_OUT_FOLDER = Path(__file__).parent / "evaluation" / "text"
HELD_OUT_PAGES = 8


def write_held_out(folder: Path = HELD_OUT_FOLDER) -> None:
    """Writes the held-out set: ``python -m training.text_pages``. The files are kept with the code, because fonts and
    FreeType differ between machines and figures must not. Raises ``FontsError``."""
    fonts = held_out_fonts()
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(1, HELD_OUT_PAGES + 1):
        drawn = page(seed, fonts, height=240, width=320, held_out=True)
        Image.fromarray(drawn).save(folder / f"{seed:02}.png", optimize=True)


if __name__ == "__main__":
    write_held_out()
