"""What only a bucket can do, and what happens when its server refuses, fills up or dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.storage import MissingObjectError, Storage, StorageError, open_storage
from tests.s3_server import ACCESS_KEY_ID, BUCKET, S3Server, start_s3


def connect(server: S3Server, prefix: str = "place", **options: Any) -> Storage:
    options = {"s3_access_key_id": ACCESS_KEY_ID, "s3_secret_access_key": server.secret_access_key, **options}
    return open_storage(f"s3://{BUCKET}/{prefix}", s3_endpoint=server.endpoint, s3_region="us-east-1", **options)


def code_of(use: Any) -> str:
    with pytest.raises(StorageError) as error:
        use()
    assert "Debug source" not in error.value.message
    return error.value.code


def test_the_prefix_is_a_place_of_its_own(s3_server: S3Server) -> None:
    one, other, both = connect(s3_server, "of/one"), connect(s3_server, "of/other"), connect(s3_server, "of")
    one.put("a", b"1")
    other.put("a", b"22")
    assert one.get("a") == b"1"
    assert {key for key, _ in both.list("")} == {"one/a", "other/a"}
    assert both.delete_prefix("one") == 1
    assert not one.exists("a")
    assert other.get("a") == b"22"


def test_ranges_that_are_answered_with_200(tmp_path: Path) -> None:
    """rclone as it is, without what the other tests put in front of it."""
    content = bytes(range(256)) * 40_000  # more than one read of an opened object
    with start_s3(tmp_path, corrected=False) as server:
        store = connect(server)
        store.put("a", content)
        assert store.get("a", 10, 5) == content[10:15]
        assert store.get("a", len(content) - 3) == content[-3:]
        assert store.get("a", len(content), 9) == b""
        with store.open("a") as file:
            file.seek(5_000_000)
            assert file.read(7) == content[5_000_000:5_000_007]
            store.put("a", content[::-1])
            file.seek(0)
            with pytest.raises(MissingObjectError):  # never bytes of two versions
                file.read(10_000_000)
        with pytest.raises(MissingObjectError):
            store.get("b", 1, 2)
        opened = store.open("a")
        store.delete("a")
        with opened, pytest.raises(MissingObjectError):
            opened.read(5)
        store.put("a", content)
        server.process.kill()
        server.process.wait(10)
        assert code_of(lambda: store.get("a", 1, 2)) == "storage_unavailable"


def test_settings_win_over_the_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    connect(s3_server).check()


def test_signed_links(s3_server: S3Server) -> None:
    assert connect(s3_server).presign("a", method="GET", seconds=60) is None
    store = connect(s3_server, "links", public_url=s3_server.endpoint)
    put = store.presign("uploads/a", method="PUT", seconds=60)
    get = store.presign("uploads/a", method="GET", seconds=60)
    assert put is not None
    assert get is not None
    assert httpx.put(put, content=b"picture").status_code == 200
    assert store.get("uploads/a") == b"picture"
    assert httpx.get(get).content == b"picture"
    assert httpx.put(get, content=b"other").status_code == 403
    assert httpx.get(get.replace("uploads/a", "uploads/b")).status_code == 403
    elsewhere = connect(s3_server, "links", public_url="https://s3.example.org").presign("a", method="GET", seconds=60)
    assert (elsewhere or "").startswith(f"https://s3.example.org/{BUCKET}/links/a?X-Amz-")


def test_an_open_file_never_mixes_two_versions(s3_server: S3Server) -> None:
    store = connect(s3_server, "versions")
    store.put("a", b"1" * 9_000_000)
    with store.open("a") as file:
        assert file.read(10) == b"1" * 10
        store.put("a", b"2" * 9_000_000)
        file.seek(8_000_000)
        with pytest.raises(MissingObjectError):
            file.read(10)


def test_a_wrong_secret_is_refused(s3_server: S3Server) -> None:
    store = connect(s3_server, s3_secret_access_key="x" * 32)
    for use in (store.check, lambda: store.get("a"), lambda: store.put("a", b""), lambda: store.delete("a")):
        assert code_of(use) == "storage_unavailable"


def test_an_absent_bucket_is_no_absent_object(s3_server: S3Server) -> None:
    store = open_storage(
        "s3://no-such-bucket",
        s3_endpoint=s3_server.endpoint,
        s3_access_key_id=ACCESS_KEY_ID,
        s3_secret_access_key=s3_server.secret_access_key,
    )
    for use in (store.check, lambda: store.get("a"), lambda: list(store.list(""))):
        assert code_of(use) == "storage_unavailable"


@pytest.mark.parametrize("seekable", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_server_that_dies_in_an_upload(tmp_path: Path, seekable: bool) -> None:
    with start_s3(tmp_path) as server:
        store = connect(server)
        store.put("jobs/a/result", b"old")
        with (store.seekable_writer if seekable else store.writer)("jobs/a/result") as writer:
            writer.write(bytes(17_000_000))
            server.process.kill()
            server.process.wait(10)

            def finish() -> None:
                for _ in range(3):
                    writer.write(bytes(17_000_000))
                writer.commit()

            assert code_of(finish) == "storage_unavailable"
        assert code_of(store.check) == "storage_unavailable"
        assert (server.folder / "place" / "jobs" / "a" / "result").read_bytes() == b"old"


@pytest.fixture
def full_server() -> Iterator[str]:
    """Reads every upload and answers as MinIO does without room; deletes and reads well."""

    class Full(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, body: bytes) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Wed, 25 Nov 2026 02:11:53 GMT")
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self.answer(507, b"<Error><Code>XMinioStorageFull</Code><Message>no room</Message></Error>")

        def do_GET(self) -> None:
            self.answer(200, b"picture")

        def do_POST(self) -> None:
            self.answer(200, b"<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>")

    with ThreadingHTTPServer(("127.0.0.1", 0), Full) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_full_bucket(full_server: str) -> None:
    store = open_storage("s3://bucket", s3_endpoint=full_server, s3_access_key_id="a", s3_secret_access_key="b")  # noqa: S106
    assert code_of(lambda: store.put("a", b"1")) == "storage_full"
    assert code_of(store.check) == "storage_full"
    assert store.get("a") == b"picture"
    store.delete("a")


BAD = ["s3://", "s3://A/b", "s3://b", "s3://user@bucket", "s3://bucket/x?y", "s3://bucket#x", "s3://bucket/a b"]


@pytest.mark.parametrize("url", [*BAD, "s3://bucket/../x", "s3://bucket//x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        open_storage(url)
