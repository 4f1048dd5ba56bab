"""``chetko keys``, on a queue server and on a data folder of its own."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.api.callers import CannotStartError
from app.api.keys import SCOPES, KeyStore
from app.api.secret_key import FILE, secret_key
from app.cli import main
from app.settings import Settings


def scopes_of(queue: Path, text: str) -> tuple[str, ...]:
    async def find() -> tuple[str, ...]:
        async with Redis(unix_socket_path=str(queue)) as redis:
            key = await KeyStore(redis).find(text)
            assert key is not None
            return key.scopes

    return asyncio.run(find())


def test_a_key_is_made_listed_and_revoked(
    queue: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHETKO_REDIS_URL", f"unix://{queue}")
    assert main(["keys", "ls"]) == 0
    assert "There is no key." in capsys.readouterr().out
    assert main(["keys", "create", "shop", "--scope", "read", "--storage-mb", "7"]) == 0
    made = capsys.readouterr()
    text = made.out.strip()
    assert scopes_of(queue, text) == ("read",)
    assert text not in made.err
    assert main(["keys", "create", "all of it"]) == 0
    assert scopes_of(queue, capsys.readouterr().out.strip()) == SCOPES
    assert main(["keys", "ls"]) == 0
    listed = capsys.readouterr().out
    assert "shop" in listed
    assert "7 MiB stored" in listed
    assert text not in listed
    key_id = next(line.split()[0] for line in listed.splitlines() if "shop" in line)
    assert main(["keys", "revoke", key_id]) == 0
    assert main(["keys", "revoke", key_id]) == 1
    assert "chetko keys ls" in capsys.readouterr().err


def test_keys_are_kept_in_the_data_folder_while_nothing_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHETKO_DATA_DIR", str(tmp_path / "data"))
    assert main(["keys", "create", "first"]) == 0
    text = capsys.readouterr().out.strip()
    assert main(["keys", "ls"]) == 0
    assert "first" in capsys.readouterr().out
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and text in path.read_text("latin-1")]


def test_a_queue_server_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHETKO_REDIS_URL", f"unix://{tmp_path}/nobody")
    assert main(["keys", "ls"]) == 2
    assert "does not answer" in capsys.readouterr().err


def test_the_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    first = secret_key(settings)
    assert len(first) >= 32
    assert secret_key(settings) == first
    assert stat.S_IMODE((tmp_path / "data" / FILE).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE]


def test_the_secret_is_the_operators_in_a_cluster(tmp_path: Path) -> None:
    url = "redis://queue.example:6379/0"
    given = "s" * 32
    assert secret_key(Settings(redis_url=url, secret_key=given)) == given
    assert given not in repr(Settings(secret_key=given))
    with pytest.raises(CannotStartError, match="CHETKO_SECRET_KEY"):
        secret_key(Settings(redis_url=url, data_dir=tmp_path))


def test_a_damaged_secret_is_not_used(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("short")
    with pytest.raises(CannotStartError, match="remove it"):
        secret_key(Settings(data_dir=tmp_path))
