from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.pictures import noise, waves
from training import pack as packing
from training.pack import MAGIC, PLACE, Pack, PackError, PackWriter, main, pack_pictures, write_pack
from training.photo_files import find_pictures


def photo(path: Path, height: int = 100, width: int = 120, seed: int = 0) -> np.ndarray:
    pixels = noise(height, width, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def pack_folder(folder: Path, target: Path) -> tuple[int, list[str]]:
    return pack_pictures(find_pictures([folder]), target)


def test_pixels_come_back_exactly_and_unwritable(tmp_path: Path) -> None:
    first, second = photo(tmp_path / "in/a.png"), photo(tmp_path / "in/deep/b.png", 97, 131, seed=1)
    pack_folder(tmp_path / "in", tmp_path / "all.pack")
    pack = Pack(tmp_path / "all.pack")
    assert pack.names == ["in/a.png", "in/deep/b.png"]
    np.testing.assert_array_equal(pack[0], first)
    np.testing.assert_array_equal(pack[1], second)
    with pytest.raises(ValueError, match="read-only"):
        pack[0][0, 0, 0] = 1


def test_broken_and_small_pictures_are_reported_not_fatal(tmp_path: Path) -> None:
    photo(tmp_path / "in/good.png")
    photo(tmp_path / "in/tiny.png", 20, 50)
    (tmp_path / "in/broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (tmp_path / "in/nowhere.jpg").symlink_to("gone.jpg")
    count, skipped = pack_folder(tmp_path / "in", tmp_path / "all.pack")
    assert count == 1
    assert sorted(sentence.split(": ")[0].rsplit("/")[-1] for sentence in skipped) == [
        "broken.jpg", "nowhere.jpg", "tiny.png",
    ]  # fmt: skip
    assert any("50 x 20 is smaller than 32 px" in sentence for sentence in skipped)


def test_running_again_adds_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "in/a.png")
    pack_folder(tmp_path / "in", tmp_path / "all.pack")
    before = (tmp_path / "all.pack").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(packing, "read_rgb", None)  # nothing may be decoded again
        assert pack_folder(tmp_path / "in", tmp_path / "all.pack") == (1, [])
    assert (tmp_path / "all.pack").read_bytes() == before
    added = photo(tmp_path / "in/b.png", seed=5)
    assert pack_folder(tmp_path / "in", tmp_path / "all.pack")[0] == 2
    np.testing.assert_array_equal(Pack(tmp_path / "all.pack")[1], added)
    assert (tmp_path / "all.pack").stat().st_size < len(before) + added.nbytes + 2000


def test_a_changed_picture_replaces_its_older_self(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.png")
    pack_folder(tmp_path / "in", tmp_path / "all.pack")
    changed = photo(tmp_path / "in/a.png", 64, 80, seed=3)
    assert pack_folder(tmp_path / "in", tmp_path / "all.pack")[0] == 1
    np.testing.assert_array_equal(Pack(tmp_path / "all.pack")[0], changed)


def test_a_stopped_run_keeps_what_was_done(tmp_path: Path) -> None:
    target = tmp_path / "all.pack"
    first, second = noise(40, 40, 1), noise(50, 50, 2)
    write_pack(target, [("a", (1, 1), first)])

    def stopped():
        yield "b", (2, 2), second
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pack(target, stopped())
    assert Pack(target).names == ["a", "b"]
    np.testing.assert_array_equal(Pack(target)[0], first)
    np.testing.assert_array_equal(Pack(target)[1], second)


def test_a_killed_run_leaves_the_old_pack_readable_and_nothing_behind(tmp_path: Path) -> None:
    target, killed = tmp_path / "all.pack", tmp_path / "killed.pack"
    first, second = noise(40, 40, 1), noise(50, 50, 2)
    write_pack(target, [("a", (1, 1), first)])
    with PackWriter(target) as pack:
        pack.add("b", (2, 2), noise(500, 500))
        shutil.copy(target, killed)  # what a kill at this moment would leave
    assert killed.stat().st_size > 500_000
    assert Pack(killed).names == ["a"]
    np.testing.assert_array_equal(Pack(killed)[0], first)
    write_pack(killed, [("c", (3, 3), second)])
    np.testing.assert_array_equal(Pack(killed)[1], second)
    assert killed.stat().st_size < 20_000


def test_the_index_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "COMMIT_BYTES", 10_000)
    with PackWriter(tmp_path / "all.pack") as pack:
        pack.add("a", (1, 1), noise(40, 40))
        with pytest.raises(PackError, match="not finished"):
            Pack(tmp_path / "all.pack")
        pack.add("b", (2, 2), noise(100, 100))
        assert Pack(tmp_path / "all.pack").names == ["a", "b"]
        pack.add("c", (3, 3), noise(40, 40, 7))
    np.testing.assert_array_equal(Pack(tmp_path / "all.pack")[2], noise(40, 40, 7))


def test_a_pack_killed_before_its_first_index_is_begun_again(tmp_path: Path) -> None:
    for left in (b"", MAGIC + PLACE.pack(0, 0) + b"pixels"):
        (tmp_path / "all.pack").write_bytes(left)
        assert write_pack(tmp_path / "all.pack", [("a", (1, 1), noise(40, 40))]) == 1
        np.testing.assert_array_equal(Pack(tmp_path / "all.pack")[0], noise(40, 40))


def test_a_file_that_is_no_pack_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_bytes(b"years of work")
    with pytest.raises(PackError, match="is not a pack"):
        write_pack(tmp_path / "thesis.doc", [("a", (1, 1), noise(40, 40))])
    assert (tmp_path / "thesis.doc").read_bytes() == b"years of work"


def test_two_runs_take_turns(tmp_path: Path) -> None:
    for seed in range(6):
        photo(tmp_path / f"in/{seed}.png", seed=seed)
    target = tmp_path / "all.pack"
    command = [sys.executable, "-c", "import sys; from training.pack import main; sys.exit(main())"]
    with PackWriter(target) as pack:
        other = subprocess.Popen([*command, str(tmp_path / "in"), "-o", str(target)], stdout=subprocess.PIPE, text=True)
        assert "waiting" in other.stdout.readline()
        pack.add("mine", (1, 1), noise(40, 40, 9))
        time.sleep(0.1)
    assert other.wait(30) == 0
    assert "7 pictures" in other.stdout.read()
    held = Pack(target)
    assert held.names == ["mine", *(f"in/{seed}.png" for seed in range(6))]
    np.testing.assert_array_equal(held[0], noise(40, 40, 9))
    np.testing.assert_array_equal(held[6], noise(100, 120, 5))


def test_ctrl_c_is_answered_with_what_to_do_next(tmp_path: Path) -> None:
    for seed in range(16):
        photo(tmp_path / f"in/{seed:02}.png", seed=seed)
    script = """
import sys, time
from training import pack
slow = pack.read_rgb
pack.read_rgb = lambda path: (time.sleep(0.1), print("reading", flush=True), slow(path))[-1]
sys.exit(pack.main())
"""
    target = tmp_path / "all.pack"
    command = [sys.executable, "-c", script, str(tmp_path / "in"), "-o", str(target)]
    # What a shell starts in the background ignores Ctrl-C, and so would this child.
    listen = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen)  # noqa: PLW1509
    for _ in range(8):
        run.stdout.readline()
    os.kill(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "goes on from there" in said
    assert "Traceback" not in said
    assert 0 < len(Pack(target)) < 16


def test_progress_is_told_of_long_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SAY_SECONDS", 0.0)
    for seed in range(3):
        photo(tmp_path / f"in/{seed}.png", seed=seed)
    said: list[str] = []
    pack_pictures(find_pictures([tmp_path / "in"]), tmp_path / "all.pack", say=said.append)
    assert [line.split(" photographs")[0] for line in said] == ["packed 1 of 3", "packed 2 of 3", "packed 3 of 3"]


def test_near_duplicates_of_test_pictures_are_left_out_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "test").mkdir()
    for seed in range(4):
        Image.fromarray(waves(120, 180, seed)).save(tmp_path / f"in/{seed}.png")
    Image.fromarray(waves(120, 180, 1)[:, ::-1]).resize((90, 60)).save(tmp_path / "test/mirrored.jpg", quality=30)
    arguments = [str(tmp_path / "in"), "-o", str(tmp_path / "all.pack")]
    exclude = ["--exclude-like", str(tmp_path / "test")]
    for earlier in ([], arguments):  # into a new pack, and into one that holds the picture already
        (tmp_path / "all.pack").unlink(missing_ok=True)
        if earlier:
            assert main(earlier) == 0
            assert "in/1.png" in Pack(tmp_path / "all.pack").names
        capsys.readouterr()
        assert main([*arguments, *exclude]) == 0
        assert Pack(tmp_path / "all.pack").names == ["in/0.png", "in/2.png", "in/3.png"]
        said = capsys.readouterr().err
        assert "1.png" in said
        assert "near-duplicate of" in said
        assert "mirrored.jpg" in said
    (tmp_path / "empty").mkdir()
    assert main([*arguments, "--exclude-like", str(tmp_path / "empty")]) == 2


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere"), "-o", str(tmp_path / "x.pack")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "-o", str(tmp_path / "y.pack")]) == 1
    photo(tmp_path / "in/a.png")
    (tmp_path / "folder.pack").mkdir()
    assert main([str(tmp_path / "in"), "-o", str(tmp_path / "folder.pack")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "not.pack").write_bytes(b"hello")
    with pytest.raises(PackError, match="is not a pack"):
        Pack(tmp_path / "not.pack")
