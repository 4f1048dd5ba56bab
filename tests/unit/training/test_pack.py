from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.pack import Pack, PackError, main, pack_folders, write_pack


def photo(path: Path, width: int = 120, height: int = 100, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def test_pixels_come_back_exactly_and_unwritable(tmp_path: Path) -> None:
    first, second = photo(tmp_path / "in/a.png"), photo(tmp_path / "in/deep/b.png", 97, 131, seed=1)
    pack_folders([tmp_path / "in"], tmp_path / "all.pack")
    pack = Pack(tmp_path / "all.pack")
    assert pack.names == ["in/a.png", "in/deep/b.png"]
    np.testing.assert_array_equal(pack[0], first)
    np.testing.assert_array_equal(pack[1], second)
    with pytest.raises(ValueError, match="read-only"):
        pack[0][0, 0, 0] = 1


def test_broken_and_small_pictures_are_reported_not_fatal(tmp_path: Path) -> None:
    photo(tmp_path / "in/good.png")
    photo(tmp_path / "in/tiny.png", 50, 50)
    (tmp_path / "in/broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    count, skipped = pack_folders([tmp_path / "in"], tmp_path / "all.pack")
    assert count == 1
    assert ["broken.jpg" in sentence for sentence in skipped] == [True, False]
    assert "smaller than 96 px" in skipped[1]


def test_running_again_adds_only_what_is_new(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.png")
    pack_folders([tmp_path / "in"], tmp_path / "all.pack")
    size = (tmp_path / "all.pack").stat().st_size
    assert pack_folders([tmp_path / "in"], tmp_path / "all.pack")[0] == 1
    added = photo(tmp_path / "in/b.png", seed=5)
    assert pack_folders([tmp_path / "in"], tmp_path / "all.pack")[0] == 2
    np.testing.assert_array_equal(Pack(tmp_path / "all.pack")[1], added)
    assert (tmp_path / "all.pack").stat().st_size < size + added.nbytes + 2000


def test_an_interrupted_run_leaves_the_old_pack_readable(tmp_path: Path) -> None:
    target = tmp_path / "all.pack"
    first = np.full((100, 100, 3), 7, np.uint8)
    write_pack(target, [("a", (1, 1), first)])

    def broken():
        yield "b", (2, 2), np.zeros((500, 500, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pack(target, broken())
    assert Pack(target).names == ["a"]
    np.testing.assert_array_equal(Pack(target)[0], first)


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere"), "-o", str(tmp_path / "x.pack")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "-o", str(tmp_path / "y.pack")]) == 1
    (tmp_path / "not.pack").write_bytes(b"hello")
    with pytest.raises(PackError, match="is not a pack"):
        Pack(tmp_path / "not.pack")
