"""Every error has its status, and no answer tells of the inside."""

from __future__ import annotations

import logging

import pytest
from starlette.types import Receive, Scope, Send

from app.api import problems
from app.api.fallbacks import CatchAll, HeadAsGet
from app.api.problems import PICTURE_PROBLEMS, Problem, ProblemDocument, of_picture
from app.imaging import picture
from app.imaging.picture import ImagingError
from app.inference import errors
from app.inference.errors import InferenceError
from tests.unit.api.asgi import call, http_scope


def subclasses(kind: type) -> list[type]:
    return [each for sub in kind.__subclasses__() for each in (sub, *subclasses(sub))]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (picture.UnsupportedPictureError("unsupported_format", "Send a PNG."), 415, "unsupported_format"),
        (picture.BrokenPictureError("truncated", "Send it whole."), 422, "truncated"),
        (picture.PictureTooLargeError("too_many_pixels", "Send less.", limit=7), 413, "too_many_pixels"),
        (picture.PictureTooLargeError("output_too_large", "Ask for less.", limit=9), 413, "output_too_large"),
        (picture.FormatCannotHoldError("format_cannot_hold", "Choose png."), 422, "format_cannot_hold"),
        (errors.UnknownModelError("There is fast."), 422, "unknown_model"),
        (errors.UnknownScaleError("It has 4."), 422, "unknown_scale"),
        (errors.UpscaleCancelledError("Nobody wants it."), 499, "cancelled"),
        (errors.DeviceOutOfMemoryError("No memory."), 503, "device_out_of_memory"),
        (errors.NotFiniteError("NaN."), 500, "not_finite"),
    ],
)
def test_errors_from_below_get_their_status(error: ImagingError | InferenceError, status: int, code: str) -> None:
    problem = of_picture(error)
    assert problem is not None
    document = problem.document("id-1")
    assert (document.status, document.code) == (status, code)
    assert document.detail == error.message
    assert document.limit == getattr(error, "limit", None)
    assert ("Retry-After" in problem.headers) == (status == 503)


def test_the_table_knows_every_error_from_below() -> None:
    # What only a start can raise stays out of the table: there is no request to answer.
    only_at_start = {errors.RuntimeProblemError, errors.PlatformUnavailableError, errors.BrokenModelError}
    known = set(subclasses(ImagingError)) | set(subclasses(InferenceError))
    in_app = {kind for kind in known if kind.__module__.startswith("app.")}
    covered = {kind for kind in in_app if any(parent in PICTURE_PROBLEMS for parent in kind.__mro__)}
    assert in_app - covered == only_at_start


@pytest.mark.parametrize("error", [errors.BrokenModelError("/srv/x is broken"), errors.RuntimeProblemError("two")])
def test_faults_of_the_installation_are_no_problem_of_a_request(error: InferenceError) -> None:
    assert of_picture(error) is None


def test_every_problem_has_a_status_a_code_and_a_title() -> None:
    kinds = [kind for kind in subclasses(Problem) if kind.__module__ == problems.__name__]
    assert len(kinds) > 20
    for kind in kinds:
        assert 400 <= kind.status <= 599, kind
        assert kind.code.replace("_", "").isalnum(), kind
        assert kind.code == kind.code.lower(), kind
        assert kind is problems.InternalProblem or kind.title != Problem.title, kind


def test_a_problem_is_a_complete_answer() -> None:
    problem = problems.BodyTooLargeProblem("Send less.", limit=5)
    scope = http_scope("POST", "/v1/upscale")
    scope[problems.REQUEST_ID] = "id-1"
    answer = call(problem.response(scope), scope)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.json == {
        "type": "urn:chetko:problem:body_too_large",
        "title": "The body is too large",
        "status": 413,
        "code": "body_too_large",
        "detail": "Send less.",
        "limit": 5,
        "request_id": "id-1",
    }
    ProblemDocument.model_validate(answer.json)


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("/secret/path: password=1234")


async def failing_late(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await failing(scope, receive, send)


def test_an_unexpected_failure_tells_the_log_and_not_the_client(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = call(CatchAll(failing), http_scope())
    assert answer.status == 500
    assert answer.json["code"] == "internal_error"
    assert b"secret" not in answer.body
    assert "secret" in caplog.text


def test_an_answer_that_has_begun_is_not_answered_again() -> None:
    answer = call(CatchAll(failing_late), http_scope())
    assert [message["type"] for message in answer.messages] == ["http.response.start"]


def test_head_is_get_without_a_body() -> None:
    problem = problems.NotFoundProblem("Nothing.")
    scope = http_scope("HEAD")
    answer = call(HeadAsGet(problem.response(scope)), scope)
    assert answer.body == b""
    assert int(answer.headers["content-length"]) > 0
