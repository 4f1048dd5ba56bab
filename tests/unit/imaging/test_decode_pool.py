"""Decoding in a process of its own gives the same as decoding here, and survives whatever happens to the process."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from app.imaging import decode_pool
from app.imaging.decode import decode
from app.imaging.decode_messages import BrokenChannelError, receive, send
from app.imaging.decode_pool import DecodePool, DecoderFailedError
from app.imaging.decoder import IN_PROCESS, DecodingCancelledError
from app.imaging.header import read_header
from app.imaging.picture import BrokenPictureError, PictureTooLargeError, UnsupportedPictureError


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    with_processes = DecodePool(size=2, seconds=60, memory_mb=1024)
    yield with_processes
    with_processes.close()
    assert not children()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "decode_process" in " ".join(child.cmdline())]


def never() -> bool:
    return False


def file_of(kind: str, mode: str = "RGB", size: tuple[int, int] = (61, 47), **how: Any) -> io.BytesIO:
    pixels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 4), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(file, kind, **how)
    return file


@pytest.mark.parametrize(
    ("kind", "mode", "how"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {"dpi": (300, 300)}),
        ("PNG", "LA", {}),
        ("PNG", "I;16", {}),
        ("JPEG", "L", {"exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00"}),
        ("TIFF", "RGB", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGBA", {}),
    ],
)
def test_it_gives_what_this_process_gives(pool: DecodePool, kind: str, mode: str, how: dict[str, Any]) -> None:
    if mode == "I;16":
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(3).integers(0, 65536, (47, 61), np.uint16)).save(file, kind)
    else:
        file = file_of(kind, mode, **how)
    assert pool.read_header(file) == read_header(file)
    here, there = decode(file, max_pixels=None), pool.decode(file, max_pixels=None, cancelled=never)
    np.testing.assert_array_equal(here.pixels, there.pixels)
    assert here.pixels.dtype == there.pixels.dtype
    assert there.pixels.flags.writeable
    assert (here.alpha is None) == (there.alpha is None)
    if here.alpha is not None and there.alpha is not None:
        np.testing.assert_array_equal(here.alpha, there.alpha)
    assert (here.source_format, here.metadata, here.notices) == (there.source_format, there.metadata, there.notices)


def test_bands_are_those_of_this_process(pool: DecodePool) -> None:
    file = file_of("PNG", "RGBA", (61, 300))
    here: dict[int, bytes] = {}
    there: dict[int, bytes] = {}
    layout = IN_PROCESS.write_bands(file, here.__setitem__, max_pixels=None, band_rows=64, cancelled=never)
    assert pool.write_bands(file, there.__setitem__, max_pixels=None, band_rows=64, cancelled=never) == layout
    assert here == there
    assert len(here) == 5


@pytest.mark.parametrize("kind", ["memory", "spooled", "disk"])
def test_every_kind_of_file_is_read_from_its_beginning(pool: DecodePool, kind: str, tmp_path: Path) -> None:
    content = file_of("PNG").getvalue()
    if kind == "memory":
        file: Any = io.BytesIO(content)
    elif kind == "spooled":
        file = tempfile.SpooledTemporaryFile(max_size=10_000_000)  # noqa: SIM115 - closed below
        file.write(content)
    else:
        file = (tmp_path / "a").open("w+b")
        file.write(content)
    with file:
        file.seek(5)
        assert pool.read_header(file).width == 61
        assert pool.decode(file, max_pixels=None, cancelled=never).width == 61
        if kind == "spooled":
            assert not file._rolled, "a small upload must stay in memory"


def test_refusals_are_those_of_this_process_and_the_decoder_lives_on(pool: DecodePool) -> None:
    pool.warm()
    (process,) = children()
    for content, kind, code in [
        (b"", BrokenPictureError, "empty_file"),
        (b"hello, this is text", UnsupportedPictureError, "unsupported_format"),
        (file_of("PNG").getvalue()[:200], BrokenPictureError, "broken_picture"),
    ]:
        with pytest.raises(kind) as refused:
            pool.decode(io.BytesIO(content), max_pixels=None, cancelled=never)
        assert refused.value.code == code
    with pytest.raises(PictureTooLargeError) as refused:
        pool.decode(file_of("PNG"), max_pixels=100, cancelled=never)
    assert (refused.value.code, refused.value.limit) == ("too_many_pixels", 100)
    assert children() == [process]


def hold(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGSTOP)


def test_a_decoder_that_hangs_is_ended(pool: DecodePool) -> None:
    pool.warm()
    (process,) = children()
    hold(process)
    pool.seconds = 0.5
    with pytest.raises(PictureTooLargeError) as refused:
        pool.decode(file_of("PNG"), max_pixels=None, cancelled=never)
    assert refused.value.code == "decoding_too_costly"
    assert not children()
    pool.seconds = 60
    assert pool.decode(file_of("PNG"), max_pixels=None, cancelled=never).width == 61


def test_a_decoder_is_ended_when_nobody_wants_its_picture(pool: DecodePool) -> None:
    pool.warm()
    hold(children()[0])
    gone = threading.Event()
    threading.Timer(0.3, gone.set).start()
    with pytest.raises(DecodingCancelledError):
        pool.decode(file_of("PNG"), max_pixels=None, cancelled=gone.is_set)
    assert not children()


def test_a_decoder_that_breaks_costs_its_picture_only(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.warm()
    with monkeypatch.context() as broken:
        # The one that is there, and the new ones that then get the picture: every picture kills its decoder.
        broken.setattr(decode_pool._Process, "ask", lambda process, *_: process._process.kill())
        with pytest.raises(BrokenPictureError):
            pool.decode(file_of("PNG"), max_pixels=None, cancelled=never)
    assert pool.decode(file_of("PNG"), max_pixels=None, cancelled=never).width == 61


def test_a_decoder_that_dies_of_something_else_costs_no_picture(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.warm()
    (process,) = children()
    monkeypatch.setattr(decode_pool._Process, "alive", lambda _: True)  # it died a moment after it was asked
    process.kill()
    assert pool.decode(file_of("PNG"), max_pixels=None, cancelled=never).width == 61


def test_one_kill_of_a_new_decoder_costs_no_picture(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, asked = decode_pool._Process.ask, []

    def killed_once(process: decode_pool._Process, *given: Any) -> None:
        asked.append(process.used)
        if len(asked) == 1:
            process._process.kill()
        ask(process, *given)

    monkeypatch.setattr(decode_pool._Process, "ask", killed_once)
    assert pool.decode(file_of("PNG"), max_pixels=None, cancelled=never).width == 61
    assert asked == [False, False]


def test_a_decoder_that_died_in_between_is_replaced(pool: DecodePool) -> None:
    pool.warm()
    (process,) = children()
    process.kill()
    deadline = time.monotonic() + 10
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert pool.decode(file_of("PNG"), max_pixels=None, cancelled=never).width == 61


def test_memory_is_bounded() -> None:
    pool = DecodePool(size=1, seconds=60, memory_mb=160)
    try:
        file = io.BytesIO()
        Image.new("P", (16_000, 14_000)).save(file, "PNG", compress_level=1)  # 224 MB, and this kind is decoded whole
        with pytest.raises((PictureTooLargeError, BrokenPictureError)) as refused:
            pool.decode(file, max_pixels=None, cancelled=never)
        assert refused.value.code in ("decoding_too_costly", "broken_picture")
        assert pool.decode(file_of("PNG"), max_pixels=None, cancelled=never).width == 61
    finally:
        pool.close()


def test_it_has_no_secrets_and_few_rights(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHETKO_SECRET_KEY", "s" * 40)
    pool.warm()
    (process,) = children()
    assert "CHETKO_SECRET_KEY" not in process.environ()
    if sys.platform == "linux":
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        data = next(line for line in limits.splitlines() if line.startswith("Max data size"))
        assert str(1024 * 1024 * 1024) in data


def test_a_large_picture_retires_its_decoder(pool: DecodePool) -> None:
    pool.warm()
    (process,) = children()
    file = io.BytesIO()
    Image.new("L", (4100, 4000)).save(file, "PNG", compress_level=1)
    assert pool.decode(file, max_pixels=None, cancelled=never).height == 4000
    assert process not in children()
    assert pool.decode(file_of("PNG"), max_pixels=None, cancelled=never).width == 61


def test_it_ends_with_its_owner() -> None:
    code = (
        "from app.imaging.decode_pool import DecodePool; import os, sys; "
        "pool = DecodePool(size=1, seconds=60, memory_mb=512); pool.warm(); "
        "print(pool._idle[0]._process.pid, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    decoder = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.communicate()
    try:
        decoder.wait(10)
    except psutil.TimeoutExpired:
        assert decoder.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        pass


def test_what_a_taken_over_decoder_says_is_not_believed(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.warm()
    answers: list[dict[str, Any]] = [
        {},
        {"header": {"nothing": 1}},
        {"error": "__class__", "code": "x", "message": "y", "limit": None},
    ]
    for answer in answers:
        monkeypatch.setattr(decode_pool._Process, "next", lambda *_, told=answer: (told, bytearray(), []))
        with pytest.raises((DecoderFailedError, BrokenPictureError)):
            pool.read_header(file_of("PNG"))
    told = {"shape": [10, 10, 3], "bits": 8, "alpha": False, "source_format": "png", "notices": []}
    told["metadata"] = {"icc": None, "exif": None, "xmp": None, "dpi": None}

    def short(*_: Any) -> Any:
        return told, bytearray(), [os.memfd_create("short")]

    monkeypatch.setattr(decode_pool._Process, "next", short)
    with pytest.raises(DecoderFailedError):
        pool.decode(file_of("PNG"), max_pixels=None, cancelled=never)
    monkeypatch.undo()


def test_messages_that_make_no_sense_end_the_channel() -> None:
    for sent in (b"", b"\xff" * 8, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"[:9], b"\x02\x00\x00\x00\x00\x00\x00\x00[]"):
        one, other = socket.socketpair()
        with one, other:
            one.sendall(sent)
            one.close()
            with pytest.raises(BrokenChannelError):
                receive(other)
    one, other = socket.socketpair()
    with one, other:
        send(one, {"a": 1}, b"bytes")
        assert receive(other) == ({"a": 1}, bytearray(b"bytes"), [])
