"""Links that show one result to whoever has them: read-only, signed, and gone with the result."""

from __future__ import annotations

import hashlib
import time

from itsdangerous import BadData, URLSafeSerializer


class ShareLinks:
    """Signs and reads tokens. A token names a job and an end; it opens nothing else, and nothing is stored for it."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeSerializer(
            secret,
            salt="chetko.share.1",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def token(self, job_id: str, until: float) -> str:
        """``until``: Unix time."""
        text = self._serializer.dumps([job_id, int(until)])
        return text.decode() if isinstance(text, bytes) else text

    def job_id(self, token: str) -> str | None:
        """The job of a token that we signed and whose end has not come; None for all others."""
        try:
            job_id, until = self._serializer.loads(token)
        except (BadData, ValueError, TypeError, RecursionError):
            return None
        return str(job_id) if until > time.time() else None
