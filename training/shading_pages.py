"""Pages of smooth shading to train with: skies, walls, what lies out of focus, and outlines in front of them.

JPEG leaves whole blocks of a sky in one colour, with a step of a few levels to the next; what the eye sees at once is
next to nothing in a mean error, and few patches of photographs hold nothing else. These pages are nothing else, in the
sizes, slopes and grains that cameras give, each drawn from its seed.

Half of them are twice as large, since what a network sees is what is left after shrinking: a small page shrunk 4 times
bends within a block or two, as no sky does, and from such pages it learns to leave the steps alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Image8 = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 480, 640
"""Of the small pages; the others have twice as many rows and columns."""
_Size = tuple[int, int]
LARGEST_GRAIN = 2.0
"""Standard deviation in levels. Half of the pages have none: in grain of a level L1 hardly feels a step of half a level
(its slope there is erf(0.5 / sqrt 2) = 0.38 of what it is without grain)."""
SUPERSAMPLED = 4
"""Outlines are drawn so many times larger, and shrunk: their edges are as soft as a lens leaves them."""


def page(seed: int) -> Image8:
    """(480, 640, 3) or (960, 1280, 3) uint8: a slope, some wide glows, perhaps grain, and in every other page outlines
    in front."""
    random = np.random.default_rng(seed)
    times = 1 + seed // 2 % 2
    size = (times * HEIGHT, times * WIDTH)
    shading = _slope(random, size) + _glows(random, size)
    if seed % 2:
        cover = _outlines(random, size)[:, :, None]
        shading = (1 - cover) * shading + cover * random.uniform(0, 255, 3)
    grain = random.normal(0, max(0.0, random.uniform(-LARGEST_GRAIN, LARGEST_GRAIN)), (*size, 1))
    return np.clip(np.floor(shading + grain + 0.5), 0, 255).astype(np.uint8)


def _grid(size: _Size) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows (H, 1) and columns (1, W), both from 0 to about 1 in the same unit."""
    height, width = size
    return np.arange(height)[:, None] / width, np.arange(width)[None, :] / width


def _slope(random: np.random.Generator, size: _Size) -> npt.NDArray[np.float64]:
    """(H, W, 3): from one colour to a related one, straight or bent."""
    y, x = _grid(size)
    angle = random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    along = (along - along.min()) / np.ptp(along)
    first = random.uniform(30, 225) + random.uniform(-60, 60, 3)
    second = first + random.uniform(-1, 1) * random.uniform(10, 120) + random.uniform(-25, 25, 3)
    return first + (along ** random.uniform(0.6, 1.8))[:, :, None] * (second - first)


def _glows(random: np.random.Generator, size: _Size) -> npt.NDArray[np.float64]:
    """(H, W, 3): up to five wide, round lights or shadows."""
    y, x = _grid(size)
    glows = np.zeros((*size, 3))
    for _ in range(random.integers(0, 6)):
        top, left, width = random.uniform(0, size[0] / size[1]), random.uniform(0, 1), random.uniform(0.08, 0.5)
        glow = np.exp(-((y - top) ** 2 + (x - left) ** 2) / (2 * width**2))
        glows += glow[:, :, None] * (random.uniform(-50, 50) + random.uniform(-10, 10, 3))
    return glows


def _outlines(random: np.random.Generator, page: _Size) -> npt.NDArray[np.float64]:
    """(H, W), 0..1: how much of a pixel roofs, wires and poles cover."""
    height, width = page
    size = (width * SUPERSAMPLED, height * SUPERSAMPLED)
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    left = 0.0
    while left < 1:
        right, roof = left + random.uniform(0.03, 0.25), random.uniform(0, 0.35)
        corners = [(left, 1.0), (left, 1 - roof), ((left + right) / 2, 1 - roof * random.uniform(0.7, 1.3))]
        draw.polygon(_scaled([*corners, (right, 1 - roof), (right, 1.0)], size), fill=255)
        left = right
    for _ in range(random.integers(0, 5)):
        ends = [(float(random.uniform(-0.1, 1.1)), float(random.uniform(-0.1, 1.1))) for _ in range(2)]
        draw.line(_scaled(ends, size), fill=255, width=int(random.integers(SUPERSAMPLED, 4 * SUPERSAMPLED)))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX)).astype(np.float64) / 255


def _scaled(points: list[tuple[float, float]], size: tuple[int, int]) -> list[tuple[float, float]]:
    return [(x * size[0], y * size[1]) for x, y in points]
