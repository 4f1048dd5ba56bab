"""Log lines, for people and for machines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest

from app.telemetry import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def written(form: logs.Format, level: str = "info", *, job: str | None = None, **extra: Any) -> str:
    stream = io.StringIO()
    logs.configure(level, form, stream)

    def write() -> None:
        logs.request_id.set("req-1")
        logs.job_id.set(job)
        try:
            int("two\nlines")
        except ValueError:
            logging.getLogger("chetko.test").exception('it "failed" on %s', "ü\n", extra=extra)
        logging.getLogger("chetko.test").debug("not shown at info")

    copy_context().run(write)
    return stream.getvalue()


def test_json_is_one_object_a_line_with_its_ids_and_extras() -> None:
    (text,) = written("json", job="job_7", status=503).splitlines()
    line = json.loads(text)
    assert (line["message"], line["level"], line["logger"]) == ('it "failed" on ü\n', "error", "chetko.test")
    assert (line["request_id"], line["job_id"], line["status"]) == ("req-1", "job_7", 503)
    assert line["exception"].startswith("Traceback")
    assert line["time"].endswith("+00:00")


def test_json_leaves_out_ids_that_there_are_none_of() -> None:
    line = json.loads(written("json"))
    assert "job_id" not in line
    assert "trace_id" not in line


def test_people_get_plain_lines_that_name_the_job() -> None:
    first = written("text", job="job_7").splitlines()[0]
    assert 'ERROR   it "failed" on' in first
    assert "[job_7]" in written("text", job="job_7")
    assert "[" not in written("text").splitlines()[0]


def test_debug_is_shown_where_it_is_asked_for() -> None:
    assert "not shown at info" in written("text", "debug")
    assert "not shown at info" not in written("text", "info")


def test_libraries_speak_from_warning_on() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    logging.getLogger("uvicorn.error").info("quiet")
    logging.getLogger("uvicorn.error").warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_announcements_are_lines_of_the_log_where_a_machine_reads(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    logs.say("ready", "json")
    logs.complain("broken", "json")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["ready", "broken"]
    logs.say("ready", "text")
    logs.complain("broken", "text")
    assert capsys.readouterr() == ("ready\n", "chetko: broken\n")
