"""From an address to a store."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.settings import Settings
from app.storage.bucket import BucketStorage
from app.storage.interface import Storage
from app.storage.keys import check_prefix
from app.storage.local import LocalStorage

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def _check_url(url: str) -> str:
    """The address itself, if a store can be made of it; else raises ValueError with what it should be."""
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        pass
    elif parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return url
    elif parts.scheme == "s3" and _BUCKET.fullmatch(parts.netloc):
        check_prefix(parts.path.strip("/"))
        return url
    raise ValueError(f"must be file:///folder or s3://bucket/prefix, not {url!r}")


def open_storage(
    url: str,
    *,
    public_url: str | None = None,
    min_free_bytes: int = 0,
    s3_endpoint: str | None = None,
    s3_region: str | None = None,
    s3_access_key_id: str | None = None,
    s3_secret_access_key: str | None = None,
) -> Storage:
    """The store at ``file:///folder``, which is made if it is missing, or at ``s3://bucket/prefix``.

    ``min_free_bytes`` of its disk stay free: below that a folder counts as full. The others are for buckets only; see
    ``BucketStorage``. Raises ValueError for an address that is none, StorageError if a folder cannot be made; a bucket
    is not called yet (``Storage.check`` does).
    """
    parts = urlsplit(_check_url(url))
    if parts.scheme == "file":
        return LocalStorage(Path(unquote(parts.path)), min_free_bytes=min_free_bytes)
    return BucketStorage(
        parts.netloc,
        parts.path.strip("/"),
        endpoint=s3_endpoint,
        public_url=public_url,
        region=s3_region,
        access_key_id=s3_access_key_id,
        secret_access_key=s3_secret_access_key,
    )


def storage_of(settings: Settings) -> Storage:
    """The store that the settings name; see ``open_storage`` for what it raises."""
    secret = settings.s3_secret_access_key
    return open_storage(
        settings.storage_url or (settings.data_dir / "objects").as_uri(),
        public_url=settings.storage_public_url,
        min_free_bytes=settings.storage_min_free_mb * 1_000_000,
        s3_endpoint=settings.s3_endpoint,
        s3_region=settings.s3_region,
        s3_access_key_id=settings.s3_access_key_id,
        s3_secret_access_key=None if secret is None else secret.get_secret_value(),
    )
