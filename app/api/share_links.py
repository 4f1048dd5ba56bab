"""Links that show one picture to whoever has them: read-only, signed, and gone with the picture."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer


@dataclass(frozen=True, slots=True)
class Shown:
    """What a link shows."""

    id: str
    """Of a job, for its result, or of an upload."""
    while_job: str | None = None
    """Id of a job: the link leads somewhere only as long as that job's result is there."""


class ShareLinks:
    """Signs and reads tokens. A token names what it shows and an end; it opens nothing else, and no secret of it is
    stored.
    """

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeSerializer(
            secret,
            salt="chetko.share.1",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def token(self, shown: Shown, until: float) -> str:
        """``until``: Unix time."""
        text = self._serializer.dumps([shown.id, int(until), *([] if shown.while_job is None else [shown.while_job])])
        return text.decode() if isinstance(text, bytes) else text

    def shown(self, token: str) -> Shown | None:
        """What a token shows that we signed and whose end has not come; None for all others."""
        try:
            name, until, *job = self._serializer.loads(token)
        except (BadData, ValueError, TypeError, RecursionError):
            return None
        return Shown(str(name), str(job[0]) if job else None) if until > time.time() else None
