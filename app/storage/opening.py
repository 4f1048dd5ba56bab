"""From an address to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.settings import Settings, check_storage_url
from app.storage.bucket import BucketStorage
from app.storage.interface import Storage
from app.storage.local import LocalStorage


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
    parts = urlsplit(check_storage_url(url))
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
