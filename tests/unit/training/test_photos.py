from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.pictures import filed, noise, packed, waves
from training import photo_files, photos
from training.pack import Pack
from training.photo_files import PhotoError, PhotoFiles, find_pictures, read_rgb
from training.photos import open_photos


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


# ---- finding


def test_pictures_are_found_in_an_order_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b/2.png", "b/10.JPG", "a.png", "a-1.png", "c/d/e.tiff", "c/notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    expected = ["in/a-1.png", "in/a.png", "in/b/10.JPG", "in/b/2.png", "in/c/d/e.tiff"]
    assert [name for name, _ in find_pictures([tmp_path / "in"])] == expected
    walk = photo_files.os.walk

    def backwards(*arguments, **options):
        for place, folders, files in walk(*arguments, **options):
            folders.reverse()
            yield place, folders, files[::-1]

    monkeypatch.setattr(photo_files.os, "walk", backwards)
    assert [name for name, _ in find_pictures([tmp_path / "in"])] == expected


def test_each_picture_is_found_once_and_has_a_name_of_its_own(tmp_path: Path) -> None:
    for place in ("x/train/1.png", "y/train/1.png"):
        save(tmp_path / place, noise(40, 40))
    (tmp_path / "x/train/loop").symlink_to(tmp_path / "x")
    inputs = [tmp_path / "x/train", tmp_path / "y/train", tmp_path / "x/train", tmp_path / "x/train/1.png"]
    found = find_pictures(inputs)
    assert [path for _, path in found] == [tmp_path / "x/train/1.png", tmp_path / "y/train/1.png"]
    assert len({name for name, _ in found}) == 2
    with pytest.raises(PhotoError, match="nowhere does not exist"):
        find_pictures([tmp_path / "nowhere"])


def test_a_linked_folder_is_read(tmp_path: Path) -> None:
    save(tmp_path / "far/1.png", noise(40, 40))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/coco").symlink_to(tmp_path / "far")
    assert [name for name, _ in find_pictures([tmp_path / "in"])] == ["in/coco/1.png"]


# ---- decoding


def test_every_kind_of_file_becomes_upright_rgb(tmp_path: Path) -> None:
    colours = waves(48, 64)
    image = Image.fromarray(colours)
    grey = np.asarray(image.convert("L"))
    image.convert("L").save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.tif")
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(np.arange(64) < 32, 0, 255).astype(np.uint8)[None].repeat(48, axis=0)))
    clear.save(tmp_path / "clear.png")

    read = {path.name: read_rgb(path) for _, path in find_pictures([tmp_path])}
    assert all(pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8 for pixels in read.values())
    for name in ("grey.png", "grey16.png", "grey16.tif"):
        np.testing.assert_array_equal(read[name], grey[:, :, None].repeat(3, axis=2), err_msg=name)
    np.testing.assert_array_equal(read["turned.png"], colours)
    np.testing.assert_allclose(read["cmyk.tif"], colours, atol=3)
    assert np.abs(read["palette.png"].astype(int) - colours).mean() < 8
    assert (read["clear.png"][:, :32] == 255).all()
    np.testing.assert_array_equal(read["clear.png"][:, 32:], colours[:, 32:])


def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    Image.fromarray(noise(100, 100)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PhotoError, match=r"a\.jpg"):
        read_rgb(tmp_path / "a.jpg")
    Image.fromarray(np.zeros((40, 40), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(PhotoError, match="known range"):
        read_rgb(tmp_path / "f.tif")


# ---- files on the fly


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    decoded: list[str] = []
    read = photo_files.read_rgb
    monkeypatch.setattr(photo_files, "read_rgb", lambda path: (decoded.append(path.name), read(path))[1])
    return decoded


def test_files_are_decoded_once_while_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    pictures = [noise(40, 40, i) for i in range(6)]
    files = PhotoFiles(filed(tmp_path, pictures) and find_pictures([tmp_path]), say=print, keep=3 * pictures[0].nbytes)
    for index in (0, 1, 2, 0, 1, 2):
        np.testing.assert_array_equal(files[index], pictures[index])
    assert sorted(decoded) == ["p00.png", "p01.png", "p02.png"]
    for index in (3, 4, 1, 0):  # 4 pushes 1 out, which pushes out 2; 0 went when 3 came
        np.testing.assert_array_equal(files[index], pictures[index])
    assert sorted(decoded[3:]) == ["p00.png", "p01.png", "p03.png", "p04.png"]


def test_announced_pictures_are_decoded_ahead_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [noise(40, 40, i) for i in range(20)]
    filed(tmp_path, pictures)
    decoded = counted(monkeypatch)
    files = PhotoFiles(find_pictures([tmp_path]), say=print, keep=4 * pictures[0].nbytes)
    files.expect([7, 8])
    files[8], files[7]
    assert sorted(decoded) == ["p07.png", "p08.png"]
    for index in range(4):
        files[index]
    before = len(decoded)
    files.expect(range(10, 20))  # no room: what is there has not been used yet
    files[3]
    assert len(decoded) == before


def test_a_broken_file_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    said: list[str] = []
    files = PhotoFiles(find_pictures([tmp_path]), say=said.append)
    for _ in range(3):
        with pytest.raises(PhotoError, match=r"bad\.jpg"):
            files[0]
    assert len(said) == 1


# ---- choosing


def test_a_moderate_folder_is_packed_and_a_large_one_read_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [noise(50, 50, i) for i in range(4)]
    filed(tmp_path / "in", pictures)
    cache = tmp_path / "run/photos.pack"
    moderate = open_photos([tmp_path / "in"], cache)
    assert isinstance(moderate, Pack)
    assert cache.is_file()
    monkeypatch.setattr(photos, "PACK_BYTES", 20_000)
    said: list[str] = []
    large = open_photos([tmp_path / "in"], tmp_path / "other/photos.pack", say=said.append)
    assert isinstance(large, PhotoFiles)
    assert not (tmp_path / "other").exists()
    assert "read from their files" in said[0]
    assert list(moderate.names) == list(large.names)
    for index, picture in enumerate(pictures):
        np.testing.assert_array_equal(moderate[index], picture)
        np.testing.assert_array_equal(large[index], picture)


def test_a_full_disk_is_no_reason_not_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filed(tmp_path / "in", [noise(50, 50)])
    full = photos.shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(photos.shutil, "disk_usage", lambda _: full)
    said: list[str] = []
    assert isinstance(open_photos([tmp_path / "in"], tmp_path / "p.pack", say=said.append), PhotoFiles)
    assert "no room" in said[0]


def test_a_shared_cache_gives_each_run_its_own_photographs_in_its_own_order(tmp_path: Path) -> None:
    cache = tmp_path / "photos.pack"
    save(tmp_path / "in/b.png", noise(50, 50, 1))
    assert list(open_photos([tmp_path / "in"], cache).names) == ["in/b.png"]
    save(tmp_path / "more/c.png", noise(50, 50, 2))
    assert list(open_photos([tmp_path / "more"], cache).names) == ["more/c.png"]
    save(tmp_path / "in/a.png", noise(50, 50, 3))
    later = open_photos([tmp_path / "in"], cache)
    assert list(later.names) == ["in/a.png", "in/b.png"]
    np.testing.assert_array_equal(later[0], noise(50, 50, 3))
    (tmp_path / "in/b.png").unlink()
    assert list(open_photos([tmp_path / "in"], cache).names) == ["in/a.png"]


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    packed(tmp_path / "p.pack", [noise(40, 40)])
    assert len(open_photos([tmp_path / "p.pack"], tmp_path / "cache.pack")) == 1
    with pytest.raises(PhotoError, match="given alone"):
        open_photos([tmp_path / "p.pack", tmp_path], tmp_path / "cache.pack")
    with pytest.raises(PhotoError, match="does not exist"):
        open_photos([tmp_path / "q.pack"], tmp_path / "cache.pack")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.png").write_bytes(b"no")
    said: list[str] = []
    with pytest.raises(PhotoError, match="no readable picture"):
        open_photos([tmp_path / "in"], tmp_path / "cache.pack", say=said.append)
    assert "bad.png" in said[0]
