"""The secret that signs share links: given by the operator, or made once in the data folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from app.api.callers import CannotStartError
from app.settings import Settings

FILE = "secret-key"


def check_secret(settings: Settings) -> None:
    """Raises CannotStartError in a cluster without a secret: each process would sign with one of its own."""
    url = settings.redis_url or "unix:"
    if settings.secret_key is None and not url.startswith("unix:"):
        raise CannotStartError(
            "With CHETKO_REDIS_URL also set CHETKO_SECRET_KEY, to at least 32 random characters that are the same for "
            "every process: it signs share links."
        )


def secret_key(settings: Settings) -> str:
    """``CHETKO_SECRET_KEY``; else, with a queue server on this machine, the one in the data folder, which is made if it
    is missing. Raises CannotStartError as ``check_secret`` does, and where the folder cannot be used. Blocks.
    """
    check_secret(settings)
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    return _in_folder(settings.data_dir)


def _in_folder(folder: Path) -> str:
    path = folder / FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = folder / f"{FILE}.{secrets.token_hex(8)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(fresh)  # whoever comes first; the others take that one
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStartError(f"The secret key {path} cannot be made or read: {error}") from error
    if len(text) < 32:
        raise CannotStartError(f"{path} holds less than 32 characters: remove it, and it is made anew.")
    return text
