"""A part of an object by a signed link: for servers that answer a range rightly, but with status 200 instead of 206.

rclone's S3 server does (1.75, by a fault of its library gofakes3), and it is the store of ``docker/compose.yaml`` and
of ``k8s/base``. obstore refuses such an answer.
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

SECONDS = 60


def get_signed_range(url: str, start: int, stop: int, etag: str) -> bytes | None:
    """Bytes [start, stop), start < stop, of the version with this etag; None if there is no such version (any more).

    Raises OSError with a sentence if the server answers anything else, or not at all.
    """
    place = urlsplit(url)
    connection = (HTTPSConnection if place.scheme == "https" else HTTPConnection)(place.netloc, timeout=SECONDS)
    try:
        headers = {"Range": f"bytes={start}-{stop - 1}", "If-Match": f'"{etag}"'}
        connection.request("GET", f"{place.path}?{place.query}", headers=headers)
        answer = connection.getresponse()
        if answer.status in {404, 412} or answer.getheader("ETag", "").strip('"') != etag:
            return None
        told = answer.getheader("Content-Range", "")
        if answer.status not in {200, 206} or not told.startswith(f"bytes {start}-{stop - 1}/"):
            raise OSError(f"status {answer.status} and Content-Range {told!r} for bytes {start} to {stop - 1}")
        data = answer.read()
    except HTTPException as error:
        raise OSError(f"the answer makes no sense: {error!r}") from error
    finally:
        connection.close()
    if len(data) != stop - start:
        raise OSError(f"{len(data)} bytes instead of {stop - start}")
    return data
