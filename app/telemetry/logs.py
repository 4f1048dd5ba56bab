"""Log lines: for people by default, one JSON object each where a machine collects them."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

from app.telemetry import traces

Format = Literal["text", "json"]

request_id: ContextVar[str | None] = ContextVar("chetko_request_id", default=None)
"""The request that the calling code works for; every JSON line of it carries this id."""
job_id: ContextVar[str | None] = ContextVar("chetko_job_id", default=None)
"""The job that the calling code works for."""

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest was given by ``extra=`` and is shown."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, request_id, job_id, trace_id, exception where
    there are any, and whatever the caller gave as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        ids = {"request_id": request_id.get(), "job_id": job_id.get(), "trace_id": traces.trace_id()}
        line |= {name: value for name, value in ids.items() if value is not None}
        line |= {name: value for name, value in vars(record).items() if name not in _ORDINARY}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """``2026-11-25 01:02:03,456 INFO    message``, with the job's id where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        job = job_id.get()
        return super().formatMessage(record) + (f" [{job}]" if job is not None else "")


def configure(level: str, form: Format, stream: TextIO | None = None) -> None:
    """Sends all log lines from ``level`` on to ``stream`` (None: standard error). Libraries speak from warning on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for noisy in ("uvicorn.error", "python_multipart", "asyncio", "opentelemetry", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)


def say(text: str, form: Format) -> None:
    """What a command tells whoever started it: on standard output, or as a log line where a machine reads."""
    if form == "json":
        logging.getLogger("chetko").info(text)
    else:
        print(text, flush=True)  # noqa: T201 - this is what the command shows


def complain(text: str, form: Format) -> None:
    """Why a command cannot go on, or what it finds strange: on standard error, or as a log line."""
    if form == "json":
        logging.getLogger("chetko").error(text)
    else:
        print(f"chetko: {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is what the command shows
