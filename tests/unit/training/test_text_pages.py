from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from training.pack import Pack, main
from training.text_pages import (
    HELD_OUT_FOLDER,
    HELD_OUT_PAGES,
    SMALLEST,
    FontsError,
    held_out_fonts,
    page,
    training_fonts,
)


@pytest.fixture(scope="module")
def fonts() -> list[Path]:
    """DejaVu, which apt-get install fonts-dejavu-core brings."""
    try:
        return [font for font in training_fonts() if font.name.startswith("DejaVu")] or training_fonts()
    except FontsError as error:
        pytest.skip(str(error))


def test_a_page_is_drawn_from_its_seed(fonts: list[Path]) -> None:
    first = page(3, fonts)
    assert first.shape == (480, 640, 3)
    np.testing.assert_array_equal(first, page(3, fonts))
    assert (first != page(4, fonts)).any()
    assert (first != page(3, fonts, held_out=True)).any()


def test_pages_are_covered_with_text_of_many_sizes(fonts: list[Path]) -> None:
    for seed in range(1, 7):
        grey = page(seed, fonts).astype(int).sum(axis=2)
        paper = np.bincount(grey.ravel()).argmax()
        written = np.abs(grey - paper) > 100
        assert 0.02 < written.mean() < 0.6, seed
        # Rows without ink part the lines; between large and small print their distances differ.
        assert written.any(axis=1).mean() > 0.5, seed


def test_only_fonts_with_both_scripts_that_are_not_held_out(fonts: list[Path], tmp_path: Path) -> None:
    for name in ("A.ttf", "Liberation-like.ttf"):
        (tmp_path / name).write_bytes(fonts[0].read_bytes())
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    latin = ImageFont.load_default(20)
    (tmp_path / "latin.ttf").write_bytes(latin.font_bytes)
    assert [font.name for font in training_fonts(tmp_path)] == ["A.ttf"]
    assert [font.name for font in held_out_fonts(tmp_path)] == ["Liberation-like.ttf"]
    (tmp_path / "A.ttf").unlink()
    with pytest.raises(FontsError, match="apt-get install"):
        training_fonts(tmp_path)


def test_the_pack_takes_pages_once(fonts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-o", str(tmp_path / "text.pack"), "--fonts", str(fonts[0].parent), "--text-pages"]
    assert main([*arguments, "2"]) == 0
    assert main([*arguments, "3"]) == 0
    pack = Pack(tmp_path / "text.pack")
    assert pack.names == ["text-page-0001", "text-page-0002", "text-page-0003"]
    np.testing.assert_array_equal(pack[2], page(3, training_fonts(fonts[0].parent)))
    assert main(["-o", str(tmp_path / "t.pack"), "--fonts", str(tmp_path), "--text-pages", "1"]) == 2
    assert "holds no font" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["-o", str(tmp_path / "t.pack")])


def test_the_held_out_pages_are_there() -> None:
    files = sorted(HELD_OUT_FOLDER.glob("*.png"))
    assert len(files) == HELD_OUT_PAGES
    for file in files:
        with Image.open(file) as image:
            assert (image.mode, image.size) == ("RGB", (320, 240))
    assert SMALLEST / 4 < 3
