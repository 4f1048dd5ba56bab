"""Measuring during training, and the strips to look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.unit.training.test_loop import scene
from training.evaluation.lpips import Lpips
from training.evaluation.metrics import luma, psnr, shave, ssim
from training.pictures import labelled_strip
from training.resize import matlab_resize, shrink
from training.validation import Validation


class Enlarge(nn.Module):
    """Nearest neighbour, ``gain`` times as bright; in training mode black, as what only evaluation should show."""

    def __init__(self, scale: int = 4, gain: float = 1.0) -> None:
        super().__init__()
        self.scale, self.gain = scale, gain

    def forward(self, image: Tensor) -> Tensor:
        large = image.repeat_interleave(self.scale, dim=2).repeat_interleave(self.scale, dim=3)
        return large * (0.0 if self.training else self.gain)


class Redder(Lpips):
    """A distance that can be calculated by hand: the difference of the means of red, 0..1."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.register_buffer("shift", torch.zeros(1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first[:, 0].mean(dim=(1, 2)) - second[:, 0].mean(dim=(1, 2))).abs()


@pytest.fixture
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """One whose sides no scale divides, one of one channel."""
    sharp = [scene(31)[:101, :94], scene(32)[:80, :120, 0]]
    return [(shrink(image, 4), image) for image in sharp]


def nearest(image: np.ndarray) -> np.ndarray:
    return image.repeat(4, axis=0).repeat(4, axis=1)


def test_means_by_the_protocol(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    network = Enlarge().train()
    measured = Validation(pairs, 4, Redder())(network)
    assert network.training, "the network is left in the mode it had"
    planes = [
        (shave(luma(nearest(small)), 4), shave(luma(large[: small.shape[0] * 4, : small.shape[1] * 4]), 4))
        for small, large in pairs
    ]
    assert measured["psnr"] == pytest.approx(np.mean([psnr(*both) for both in planes]), abs=1e-4)
    assert measured["ssim"] == pytest.approx(np.mean([ssim(*both) for both in planes]), abs=1e-4)
    reds = [
        [image[:100, :92].reshape(*image[:100, :92].shape[:2], -1)[:, :, 0].mean() / 255 for image in both]
        for both in ((nearest(small), large) for small, large in pairs)
    ]
    reds[1] = [image[:80, :120].mean() / 255 for image in (nearest(pairs[1][0]), pairs[1][1])]
    assert measured["lpips"] == pytest.approx(np.mean([abs(a - b) for a, b in reds]), abs=1e-4)
    assert list(Validation(pairs, 4)(network.eval())) == ["psnr", "ssim"]
    assert not network.training


def test_equalizing_gives_the_result_the_colours_of_its_source(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    dark = Enlarge(gain=0.6)
    plain, equalized, best = (
        Validation(pairs, 4, equalize=equalize)(network)["psnr"]
        for equalize, network in ((False, dark), (True, dark), (False, Enlarge()))
    )
    assert equalized > plain + 3
    assert equalized == pytest.approx(best, abs=0.5)
    shown = np.asarray(Validation(pairs, 4, equalize=True).strip(dark, 0, 16))
    assert abs(float(shown.mean()) - np.asarray(Validation(pairs, 4).strip(Enlarge(), 0, 16)).mean()) < 2


def test_there_must_be_something_to_measure() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        Validation([], 4)


def find(strip: np.ndarray, part: np.ndarray) -> list[int]:
    """The columns at which ``part`` stands in ``strip``, pixel for pixel."""
    height, width, _ = part.shape
    first, found = part[0].tobytes(), []
    for top in range(strip.shape[0] - height + 1):
        row = strip[top].tobytes()
        at = row.find(first)
        while at >= 0:
            left = at // 3
            if at % 3 == 0 and np.array_equal(strip[top : top + height, left : left + width], part):
                found.append(left)
            at = row.find(first, at + 1)
    return sorted(found)


def test_a_strip_shows_the_hardest_part_four_times() -> None:
    sharp = np.full((160, 160, 3), 120, np.uint8)
    sharp[96:128, 40:72] = scene(3, 32)  # the rest is flat: bicubic restores it perfectly
    small = shrink(sharp, 4)
    strip = np.asarray(Validation([(small, sharp)], 4).strip(Enlarge().train(), 0, 16))
    corners = [(top, left) for top in range(25) for left in range(25)]  # LR pixels
    parts = [np.s_[top * 4 : top * 4 + 64, left * 4 : left * 4 + 64] for top, left in corners]
    found = [index for index, part in enumerate(parts) if find(strip, sharp[part])]
    assert len(found) == 1, "HR stands there at 1:1"
    top, left = corners[found[0]]
    assert top in range(16, 25), "the part holds the pattern, LR rows 24 to 31"
    assert left in range(2, 11), "and its columns 10 to 17"
    places = [find(strip, image[parts[found[0]]]) for image in (nearest(small), matlab_resize(small, 4), sharp)]
    assert [len(place) for place in places] == [2, 1, 1], "LR and this network's SR are the same squares"
    (lr, sr), (cubic,), (hr,) = places
    assert lr < cubic < sr < hr


def test_a_picture_smaller_than_the_part_is_shown_whole(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    strip = Validation(pairs, 4).strip(Enlarge(), 1, 999)
    assert strip.width > 4 * 120
    assert find(np.asarray(strip), np.repeat(pairs[1][1][:, :, None], 3, axis=2))


# -- labelled strips


def test_panels_are_copied_as_they_are_with_text_under_each() -> None:
    random = np.random.default_rng(1)
    panels = [random.integers(0, 256, (40, width, 3), np.uint8) for width in (120, 90)]
    grey = random.integers(0, 256, (40, 60), np.uint8)
    strip = labelled_strip([("one", "30.12 dB", panels[0]), ("two", "", panels[1]), ("three", "x", grey)])
    assert strip.mode == "RGB"
    pixels = np.asarray(strip)
    lefts = [find(pixels, panel) for panel in (*panels, np.repeat(grey[:, :, None], 3, axis=2))]
    assert [len(left) for left in lefts] == [1, 1, 1]
    assert lefts[0][0] < lefts[1][0] < lefts[2][0]
    below = pixels[40 + lefts[0][0] :]
    for (left,), width in zip(lefts, (120, 90, 60), strict=True):
        assert (below[:, left : left + width] < 128).any(), "there is text under it"
    assert (pixels[0] == 255).all()
    assert (pixels[-1] == 255).all(), "nothing is cut off below"


def test_long_text_widens_its_column_and_is_not_cut() -> None:
    picture = np.full((30, 20, 3), 9, np.uint8)
    long = "a caption much wider than its picture"
    strip = labelled_strip([("A", long, picture), ("B", "", picture)])
    ink = (np.asarray(strip)[45:] < 200).any(axis=(0, 2)).nonzero()[0]
    assert strip.width > 150
    assert ink[0] > 0
    assert ink[-1] < strip.width - 1


def test_text_grows_with_the_strip_so_that_a_readme_can_shrink_it() -> None:
    def text_height(edge: int) -> int:
        strip = labelled_strip([(name, name, np.zeros((edge, edge, 3), np.uint8)) for name in ("LR", "SR", "HR")])
        return strip.height - edge

    assert text_height(800) == pytest.approx(text_height(400) * 2, rel=0.1)


def test_heights_must_be_equal() -> None:
    picture = np.zeros((30, 20, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\[29, 30\]"):
        labelled_strip([("A", "", picture), ("B", "", picture[1:])])
    with pytest.raises(ValueError, match="none"):
        labelled_strip([])


def test_a_strip_is_a_png(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("strip") / "strip.png"
    labelled_strip([("A", "", np.zeros((30, 20, 3), np.uint8))]).save(path)
    with Image.open(path) as image:
        assert image.format == "PNG"
