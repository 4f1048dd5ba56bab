"""Multipart bodies, good and bad, in pieces of every size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from starlette.datastructures import Headers
from starlette.types import Message

from app.api.options import NAMES
from app.api.problems import ClientGoneProblem, Problem, UploadTooSlowProblem
from app.api.spool import IN_MEMORY_BYTES
from app.api.upload import Upload, UploadLimits, boundary_of, receive_upload

LIMITS = UploadLimits(max_body_bytes=8_000_000, idle_seconds=5.0, min_bytes_per_second=0)
PICTURE = bytes(range(256)) * 40 + b"\r\n--not-the-boundary\r\n--XyZ\r" + b"\r\n"


@pytest.fixture
def disk() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="disk") as executor:
        yield executor


def part(content: bytes, name: str = "image", filename: str | None = "a.png") -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return (
        f"--XyZ\r\nContent-Disposition: {disposition}\r\nContent-Type: image/png\r\n\r\n".encode() + content + b"\r\n"
    )


END = b"--XyZ--\r\n"


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)] or [b""]


async def receive_chunks(
    chunks: list[bytes], disk: ThreadPoolExecutor, limits: UploadLimits = LIMITS, *, then: str = "end"
) -> Upload:
    """``then``: what comes after the chunks: "end", "disconnect" or "nothing"."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if then == "end":
        messages[-1]["more_body"] = False
    elif then == "disconnect":
        messages.append({"type": "http.disconnect"})

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return await receive_upload(receive, b"XyZ", limits, disk, NAMES)


def receive(body: bytes, disk: ThreadPoolExecutor, size: int = 65536, limits: UploadLimits = LIMITS) -> Upload:
    return asyncio.run(receive_chunks(cut(body, size), disk, limits))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 65536])
def test_a_picture_arrives_whole_however_it_is_cut(size: int, disk: ThreadPoolExecutor) -> None:
    upload = receive(part(PICTURE) + END, disk, size)
    assert upload.file.read() == PICTURE
    assert upload.size == len(PICTURE)
    assert upload.filename == "a.png"
    upload.file.close()


def test_preamble_and_epilogue_do_not_matter(disk: ThreadPoolExecutor) -> None:
    upload = receive(b"\r\n" + part(PICTURE) + END + b"\r\nepilogue", disk)
    assert upload.file.read() == PICTURE
    upload.file.close()


def test_large_parts_are_written_by_the_disk_threads(monkeypatch: pytest.MonkeyPatch, disk: ThreadPoolExecutor) -> None:
    import tempfile
    import threading

    rolled_in = []
    original = tempfile.SpooledTemporaryFile.rollover
    monkeypatch.setattr(
        tempfile.SpooledTemporaryFile,
        "rollover",
        lambda self: (rolled_in.append(threading.current_thread().name), original(self)),
    )
    content = bytes(3 * IN_MEMORY_BYTES)
    upload = receive(part(content) + END, disk)
    assert upload.file.read() == content
    assert [name.startswith("disk") for name in rolled_in] == [True]
    upload.file.close()


@pytest.mark.parametrize(
    ("filename", "expected"),
    [("кот.png", "кот.png"), ("a%22b.png", 'a"b.png'), ("", ""), (None, None), ("C:\\pics\\x.bmp", "x.bmp")],
)
def test_file_names(filename: str | None, expected: str | None, disk: ThreadPoolExecutor) -> None:
    upload = receive(part(PICTURE, filename=filename) + END, disk)
    assert upload.filename == expected
    upload.file.close()


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        (b"", 400, "empty_body", "empty"),
        (END, 400, "empty_body", "empty"),
        (part(b"") + END, 422, "empty_picture", "empty"),
        (part(PICTURE, name="file") + END, 422, "wrong_field", "'file'"),
        (part(PICTURE, name="") + END, 422, "wrong_field", "no name"),
        (part(PICTURE, name="scale") + END, 422, "wrong_field", "/v1/upscale?scale="),
        (part(PICTURE) + part(b"4", name="scale", filename=None) + END, 422, "wrong_field", "/v1/upscale?scale="),
        (part(PICTURE) + part(PICTURE) + END, 422, "too_many_parts", "one picture per request"),
        (part(PICTURE) + part(b"x", name="other") + END, 422, "too_many_parts", "one picture per request"),
        (part(PICTURE), 400, "body_incomplete", "cut off"),
        (part(PICTURE)[:40], 400, "body_incomplete", "cut off"),
        (b"this is no multipart", 400, "malformed_multipart", "boundary"),
        (part(PICTURE).replace(b"--XyZ", b"--XyA", 1) + END, 400, "malformed_multipart", "boundary"),
        (b"--XyZ\r\nContent-Disposition\r\n\r\nx\r\n" + END, 400, "malformed_multipart", "well-formed"),
        (b"--XyZ\r\n" + b"A: b\r\n" * 5000 + b"\r\nx\r\n" + END, 400, "malformed_multipart", "well-formed"),
        (b"--XyZ\r\n\r\nx\r\n" + END, 422, "wrong_field", "no name"),
    ],
)
def test_bad_bodies(body: bytes, status: int, code: str, word: str, disk: ThreadPoolExecutor) -> None:
    for size in (65536, 5):
        with pytest.raises(Problem) as error:
            receive(body, disk, size)
        assert (error.value.status, error.value.code) == (status, code)
        assert word in error.value.detail
        assert error.value.detail.count(" ") > 4, "a sentence"


def test_bytes_are_counted_while_they_arrive(disk: ThreadPoolExecutor) -> None:
    limits = replace(LIMITS, max_body_bytes=100_000)
    chunks = [part(b"")[:-2], *[bytes(50_000)] * 1000]

    async def run() -> int:
        left = list(chunks)

        async def receive() -> Message:
            return {"type": "http.request", "body": left.pop(0), "more_body": True}

        with pytest.raises(Problem) as error:
            await receive_upload(receive, b"XyZ", limits, disk)
        assert (error.value.status, error.value.code, error.value.limit) == (413, "body_too_large", 100_000)
        return len(chunks) - len(left)

    assert asyncio.run(run()) == 3


def test_an_upload_that_stands_still_is_given_up(disk: ThreadPoolExecutor) -> None:
    limits = replace(LIMITS, idle_seconds=0.05)
    with pytest.raises(UploadTooSlowProblem, match=r"0\.05 seconds"):
        asyncio.run(receive_chunks([part(PICTURE)[:50]], disk, limits, then="nothing"))


def test_an_upload_that_trickles_is_given_up(disk: ThreadPoolExecutor) -> None:
    limits = replace(LIMITS, idle_seconds=0.5, min_bytes_per_second=1000)
    body = part(PICTURE) + END

    async def run() -> int:
        sent = 0

        async def receive() -> Message:
            nonlocal sent
            await asyncio.sleep(0.02)
            sent += 1
            return {"type": "http.request", "body": body[sent - 1 : sent], "more_body": True}

        with pytest.raises(UploadTooSlowProblem, match="1000 bytes per second"):
            await receive_upload(receive, b"XyZ", limits, disk)
        return sent

    assert 1 < asyncio.run(run()) < 30


def test_a_client_that_goes_away_is_noticed(disk: ThreadPoolExecutor) -> None:
    with pytest.raises(ClientGoneProblem):
        asyncio.run(receive_chunks([part(PICTURE)[:50]], disk, then="disconnect"))


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 415, "not_multipart"),
        ({"content-type": "image/png"}, 415, "not_multipart"),
        ({"content-type": "application/json"}, 415, "not_multipart"),
        ({"content-type": "multipart/mixed; boundary=x"}, 415, "not_multipart"),
        ({"content-type": "multipart/form-data"}, 400, "missing_boundary"),
        ({"content-type": "multipart/form-data; boundary="}, 400, "missing_boundary"),
        ({"content-type": "multipart/form-data; boundary=x", "content-length": "0"}, 400, "empty_body"),
        ({"content-type": "multipart/form-data; boundary=x", "content-length": "8000001"}, 413, "body_too_large"),
        ({"content-type": "multipart/form-data; boundary=x", "content-encoding": "gzip"}, 415, "content_encoding"),
    ],
)
def test_bad_headers(headers: dict[str, str], status: int, code: str) -> None:
    with pytest.raises(Problem) as error:
        boundary_of(Headers(headers), LIMITS)
    assert (error.value.status, error.value.code) == (status, code)


@pytest.mark.parametrize("value", ["multipart/form-data; boundary=XyZ", 'Multipart/Form-Data; Boundary="XyZ"'])
def test_the_boundary_is_found(value: str) -> None:
    assert boundary_of(Headers({"content-type": value, "content-length": "8000000"}), LIMITS) == b"XyZ"


def test_an_endless_boundary_is_refused(disk: ThreadPoolExecutor) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": False}

    with pytest.raises(Problem) as error:
        asyncio.run(receive_upload(receive, b"x" * 1000, LIMITS, disk))
    assert error.value.status == 400
