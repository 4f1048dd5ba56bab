"""The ``Prefer`` header (RFC 7240), as far as it means something here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

MAX_WAIT_SECONDS = 300
"""A longer wait is cut to this; connections that stand still for longer are closed on the way in many networks."""

_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?')


@dataclass(frozen=True, slots=True)
class Preference:
    """How a client wants to be answered."""

    respond_async: bool = False
    wait: int | None = None
    """Seconds that the client waits, at most MAX_WAIT_SECONDS; None: it did not say."""

    @property
    def applied(self) -> dict[str, str]:
        """The ``Preference-Applied`` header, where there is something to tell."""
        told = (["respond-async"] if self.respond_async else []) + ([] if self.wait is None else [f"wait={self.wait}"])
        return {"Preference-Applied": ", ".join(told)} if told else {}


def preference_of(headers: Headers) -> Preference:
    """What the request prefers; whatever is not understood is ignored, as the standard wants it."""
    parts = [part.split(";")[0].strip().lower() for line in headers.getlist("prefer") for part in line.split(",")]
    waits = [found for part in parts if (found := _WAIT.fullmatch(part))]
    return Preference(
        respond_async="respond-async" in parts,
        wait=min(MAX_WAIT_SECONDS, int(waits[0][1])) if waits else None,
    )
