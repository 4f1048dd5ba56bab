"""Every way a request can fail, as RFC 9457 problems: one exception family, one table, one writer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from app.imaging.picture import (
    BrokenPictureError,
    FormatCannotHoldError,
    ImagingError,
    PictureTooLargeError,
    UnsupportedPictureError,
)
from app.inference.errors import (
    DeviceLostError,
    DeviceOutOfMemoryError,
    InferenceError,
    NotFiniteError,
    UnknownModelError,
    UnknownScaleError,
    UpscaleCancelledError,
)
from app.jobs.egress import EgressError
from app.jobs.errors import IdempotencyBusyError, IdempotencyConflictError, JobsError, QuotaError
from app.storage import StorageError
from app.telemetry import metrics

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:chetko:problem:"
REQUEST_ID = "chetko.request_id"
"""Key of the request's id in an ASGI scope."""

_log = logging.getLogger("chetko.api")


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457). Branch on `code`; show `detail` to people."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="The code as a URN.", examples=[TYPE_PREFIX + "overloaded"])
    title: str = Field(description="A short name of the kind of problem; the same for every occurrence.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    code: str = Field(description="Stable name of the problem, made for programs.")
    detail: str = Field(description="One or two sentences that say what to change.")
    limit: int | None = Field(None, description="The limit that was passed, where there is one.")
    allowed: list[str] | None = Field(None, description="What could have been asked for instead.")
    request_id: str | None = Field(None, description="The answer's X-Request-Id; quote it when you ask for help.")


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """A refusal. Subclasses fix status, code and title; the raiser writes the sentence."""

    status: ClassVar[int] = 500
    code: str = "internal_error"
    codes: ClassVar[tuple[str, ...]] = ()
    """All codes of the class, where it has more than the one in ``code``."""
    title: ClassVar[str] = "The service failed"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        limit: int | None = None,
        allowed: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.limit = limit
        self.allowed = allowed
        self.headers = dict(headers or {})
        if code is not None:
            self.code = code

    def document(self, request_id: str | None) -> ProblemDocument:
        """The body of the answer."""
        return ProblemDocument(
            type=TYPE_PREFIX + self.code,
            title=self.title,
            status=self.status,
            code=self.code,
            detail=self.detail,
            limit=self.limit,
            allowed=None if self.allowed is None else list(self.allowed),
            request_id=request_id,
        )

    def response(self, scope: Scope) -> Response:
        """The complete answer, with Content-Length, to the request of this ASGI scope; counted by its code."""
        metrics.PROBLEMS.labels(self.code, str(self.status)).inc()
        return JSONResponse(
            self.document(scope.get(REQUEST_ID)).model_dump(exclude_none=True),
            status_code=self.status,
            media_type=MEDIA_TYPE,
            headers={"Cache-Control": "no-store", **self.headers},
        )


class InternalProblem(Problem):
    """Nobody foresaw it; the log has the traceback under the request's id."""


class NotFoundProblem(Problem):
    status, code, title = 404, "not_found", "There is nothing here"


class MethodNotAllowedProblem(Problem):
    status, code, title = 405, "method_not_allowed", "The method does not fit the address"


class OtherHttpProblem(Problem):
    """What the framework refuses by itself; cannot happen on the documented routes."""

    status, code, title = 400, "bad_request", "The request cannot be understood"


class MalformedRequestProblem(Problem):
    status, code, title = 400, "malformed_request", "This is not an HTTP request"


class HeadTooLargeProblem(Problem):
    status, code, title = 431, "head_too_large", "The request line and headers are too large"


class HostNotAllowedProblem(Problem):
    status, code, title = 421, "host_not_allowed", "The service is not called by this name"


class CrossSiteRequestProblem(Problem):
    status, code, title = 403, "cross_site_request", "Another web site may not write here"


class UnknownOptionProblem(Problem):
    status, code, title = 422, "unknown_option", "There is no such option"


class InvalidOptionProblem(Problem):
    status, code, title = 422, "invalid_option", "An option has a value that is not taken"


class UnknownModelProblem(Problem):
    status, code, title = 422, "unknown_model", "There is no such model"


class UnknownScaleProblem(Problem):
    status, code, title = 422, "unknown_scale", "The model does not have this scale"


class ModelNotFoundProblem(Problem):
    status, code, title = 404, "unknown_model", "There is no such model"


class MediaTypeProblem(Problem):
    status, code, title = 415, "not_multipart", "The body is not multipart/form-data"
    codes = ("not_multipart", "content_encoding")


class MalformedBodyProblem(Problem):
    status, code, title = 400, "malformed_multipart", "The body cannot be read"
    codes = ("malformed_multipart", "missing_boundary", "empty_body", "body_incomplete")


class InvalidBodyProblem(Problem):
    status, code, title = 422, "invalid_body", "The JSON body is not what this call takes"
    codes = ("invalid_body", "invalid_json")


class UnexpectedPartProblem(Problem):
    status, code, title = 422, "wrong_field", "The body must be one part called image"
    codes = ("wrong_field", "too_many_parts", "empty_picture")


class BodyTooLargeProblem(Problem):
    status, code, title = 413, "body_too_large", "The body is too large"


class UploadTooSlowProblem(Problem):
    status, code, title = 408, "upload_too_slow", "The upload stood still or was too slow"


class ClientGoneProblem(Problem):
    """Nobody reads this answer: the connection is gone. It exists so that the log says what happened."""

    status, code, title = 499, "client_gone", "The client went away"


class UnavailableProblem(Problem):
    """Always with Retry-After."""

    status, code, title = 503, "overloaded", "The service cannot take this now"
    codes = ("overloaded", "not_ready", "draining", "queue_unavailable", "device_lost")

    def __init__(self, detail: str, *, code: str, retry_after: int) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)})


class NeedsKeyProblem(Problem):
    """Always with WWW-Authenticate."""

    status, code, title = 401, "needs_key", "A key is needed"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"WWW-Authenticate": 'Bearer realm="chetko"'})


class InvalidKeyProblem(NeedsKeyProblem):
    status, code, title = 401, "invalid_key", "The key is not valid"


class MissingScopeProblem(Problem):
    status, code, title = 403, "missing_scope", "The key may not do this"


class ListingNeedsKeyProblem(Problem):
    status, code, title = 403, "listing_needs_key", "Listing needs a key"


class RateLimitedProblem(Problem):
    """Requests or megapixels per minute (rate_limited); pictures at once, unfinished jobs, storage (quota_exceeded).
    Always with Retry-After.
    """

    status, code, title = 429, "rate_limited", "The key has used up what it may"
    codes = ("rate_limited", "quota_exceeded")

    def __init__(self, detail: str, *, code: str | None = None, limit: int, retry_after: int) -> None:
        super().__init__(detail, code=code, limit=limit, headers={"Retry-After": str(retry_after)})


class UnknownShareProblem(Problem):
    status, code, title = 404, "unknown_share", "The link leads nowhere"


class UnknownUploadProblem(Problem):
    status, code, title = 404, "unknown_upload", "There is no such upload"


class UploadInUseProblem(Problem):
    status, code, title = 409, "upload_in_use", "A job or a link uses the upload"


class NotTheFileProblem(Problem):
    """A body that should be the file itself."""

    status, code, title = 415, "multipart_not_taken", "The body must be the file itself"
    codes = ("multipart_not_taken", "content_encoding")


class UploadIncompleteProblem(Problem):
    status, code, title = 409, "upload_incomplete", "The upload is not complete"
    codes = ("upload_incomplete", "upload_size_differs")


class StorageUnavailableProblem(Problem):
    """Always with Retry-After."""

    status, code, title = 503, "storage_unavailable", "The store cannot be used now"
    codes = ("storage_unavailable", "storage_full")

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": "10"})


class UnsupportedPictureProblem(Problem):
    status, code, title = 415, "unsupported_format", "This kind of picture is not read here"
    codes = ("unsupported_format", "unsupported_samples", "heic_not_supported", "picture_too_small")


class BrokenPictureProblem(Problem):
    status, code, title = 422, "broken_picture", "The picture is damaged"
    codes = ("broken_picture", "empty_file", "too_many_scans")


class PictureTooLargeProblem(Problem):
    status, code, title = 413, "too_many_pixels", "The picture is too large"
    codes = ("too_many_pixels", "too_many_frames", "output_too_large", "decoding_too_costly")


class FormatCannotHoldProblem(Problem):
    status, code, title = 422, "format_cannot_hold", "The output format cannot hold the result"


class DeviceProblem(Problem):
    status, code, title = 503, "device_out_of_memory", "The device has no memory for this now"


class DeviceLostProblem(Problem):
    status, code, title = 503, "device_lost", "The device no longer works"


class NotFiniteProblem(Problem):
    status, code, title = 500, "not_finite", "The model failed on this picture"


class UnknownJobProblem(Problem):
    status, code, title = 404, "unknown_job", "There is no such job"


class JobNotFinishedProblem(Problem):
    """``job_not_finished`` comes with Retry-After."""

    status, code, title = 409, "job_not_finished", "The job has no result"
    codes = ("job_not_finished", "job_failed", "job_cancelled")


class JobExpiredProblem(Problem):
    status, code, title = 410, "job_expired", "The job's result is gone"


class JobFailedProblem(Problem):
    """A job failed for which this request waited, and the picture was not at fault."""

    status, code, title = 500, "job_failed", "The job failed"
    codes = ("job_failed", "set_aside", "timed_out", "out_of_resources", "model_changed", "storage_lost")


class NoTilesProblem(Problem):
    status, code, title = 404, "no_tiles", "The result has no tiles"


class RangeProblem(Problem):
    status, code, title = 416, "range_not_satisfiable", "The range lies outside of the file"


class SourceAddressProblem(Problem):
    status, code, title = 422, "download_failed", "The picture cannot be fetched from its address"
    codes = ("download_failed", "address_not_allowed")


class IdempotencyBusyProblem(Problem):
    """Always with Retry-After."""

    status, code, title = 409, "idempotency_in_progress", "The first request is still being received"


class IdempotencyConflictProblem(Problem):
    status, code, title = 422, "idempotency_conflict", "The Idempotency-Key belongs to other work"


PICTURE_SENT: tuple[type[Problem], ...] = (
    MalformedBodyProblem,
    CrossSiteRequestProblem,
    UploadTooSlowProblem,
    BodyTooLargeProblem,
    PictureTooLargeProblem,
    MediaTypeProblem,
    UnsupportedPictureProblem,
    HostNotAllowedProblem,
    UnknownOptionProblem,
    InvalidOptionProblem,
    UnknownModelProblem,
    UnknownScaleProblem,
    UnexpectedPartProblem,
    BrokenPictureProblem,
)
"""What any request with a picture as its body can be refused with."""

PICTURE_PROBLEMS: Mapping[type[ImagingError | InferenceError], type[Problem]] = {
    UnsupportedPictureError: UnsupportedPictureProblem,
    BrokenPictureError: BrokenPictureProblem,
    PictureTooLargeError: PictureTooLargeProblem,
    FormatCannotHoldError: FormatCannotHoldProblem,
    UnknownModelError: UnknownModelProblem,
    UnknownScaleError: UnknownScaleProblem,
    UpscaleCancelledError: ClientGoneProblem,
    DeviceOutOfMemoryError: DeviceProblem,
    DeviceLostError: DeviceLostProblem,
    NotFiniteError: NotFiniteProblem,
}
"""The one place where errors from below get their HTTP status. What is missing here is nobody's request's
fault: 500.
"""


def of_picture(error: ImagingError | InferenceError) -> Problem | None:
    """The problem that tells of an error from below; code, sentence and limit stay as they are.

    None for errors that a request cannot cause, such as a broken installation.
    """
    for kind in type(error).__mro__:
        if kind in PICTURE_PROBLEMS:
            problem = PICTURE_PROBLEMS[kind]
            limit = getattr(error, "limit", None)
            headers = {"Retry-After": "5"} if problem.status == 503 else None
            return problem(error.message, code=error.code, limit=limit, headers=headers)
    return None


def of_storage(error: StorageError) -> StorageUnavailableProblem:
    """The problem of a store that is full or does not answer; what it says is for the operator only."""
    if error.code == "storage_full":
        return StorageUnavailableProblem(
            "There is no room to store this now. Try again later, or delete what you no longer need.",
            code="storage_full",
        )
    return StorageUnavailableProblem("The store does not answer at the moment. Try again in 10 seconds.")


def of_job(error: JobsError | StorageError | EgressError) -> Problem:
    """The problem of what the queue, the store or a named address cannot do; what a store says is for the operator
    only."""
    if isinstance(error, EgressError):
        return SourceAddressProblem(error.message, code=error.code)
    if isinstance(error, StorageError):
        return of_storage(error)
    if isinstance(error, IdempotencyBusyError):
        return IdempotencyBusyProblem(error.message, headers={"Retry-After": "2"})
    if isinstance(error, QuotaError):
        return RateLimitedProblem(
            error.message, code="quota_exceeded", limit=error.limit, retry_after=error.retry_after
        )
    if isinstance(error, IdempotencyConflictError):
        return IdempotencyConflictProblem(error.message)
    return UnavailableProblem(error.message, code="queue_unavailable", retry_after=5)


def of_failure(code: str, detail: str) -> Problem:
    """The problem of a job that failed while its request waited: the same as if it had been computed at once."""
    kinds: list[type[Problem]] = [*PICTURE_PROBLEMS.values(), StorageUnavailableProblem]
    for problem in kinds:
        if code in (problem.codes or (problem.code,)):
            return problem(detail, code=code)
    return JobFailedProblem(detail, code=code if code in JobFailedProblem.codes else None)


def of_http(error: HTTPException, scope: Scope) -> Problem:
    """The problem for a refusal by the framework's router."""
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return NotFoundProblem(f"There is nothing at {scope['path']}; GET /v1 lists what there is.")
    if error.status_code == 405:
        # The router names the methods of one of the routes with this path; others may have it, too.
        allowed = ", ".join(allowed_methods(scope)) or headers.get("Allow", "")
        return MethodNotAllowedProblem(
            f"{scope['path']} does not answer {scope['method']}; it takes {allowed or 'other methods'}.",
            headers={"Allow": allowed} if allowed else None,
        )
    return OtherHttpProblem(str(error.detail), headers=headers)


def allowed_methods(scope: Scope) -> list[str]:
    """The methods that the path of this request answers, but for HEAD and OPTIONS."""

    def of(routes: Iterable[Any]) -> Iterator[str]:
        for route in routes:
            inner = getattr(route, "original_router", None)  # newer FastAPI keeps included routers as they are
            if inner is not None:
                yield from of(inner.routes)
            elif getattr(route, "path_regex", None) is not None and route.path_regex.match(scope["path"]):
                yield from (method for method in route.methods or () if method != "HEAD")

    return sorted(set(of(scope["app"].routes)))


def of_validation(error: RequestValidationError, options: Sequence[str]) -> Problem:
    """The problem for query options that do not hold; ``options`` are the names that the route knows."""
    faults = error.errors()
    if faults and faults[0]["loc"][:1] == ("body",):
        return _of_body(faults)
    if faults and faults[0]["loc"][:1] == ("path",):
        return NotFoundProblem("There is nothing at this address: nothing here is called by so long a name.")
    unknown = [str(fault["loc"][-1]) for fault in faults if fault["type"] == "extra_forbidden"]
    listing = ", ".join(options)
    if unknown:
        names = ", ".join(repr(name[:64]) for name in unknown[:8])
        closest = closest_name(unknown[0][:64], options)
        hint = f" Did you mean {closest!r}?" if closest else ""
        return UnknownOptionProblem(f"There is no option {names}.{hint} Options are {listing}.", allowed=options)
    return InvalidOptionProblem(" ".join(_option_sentence(fault) for fault in faults))


def _of_body(faults: Sequence[Mapping[str, Any]]) -> Problem:
    if faults[0]["type"] == "json_invalid":
        return _no_json()
    if len(faults[0]["loc"]) == 1:
        return InvalidBodyProblem("The body must be a JSON object, sent as application/json.")
    sentences = []
    for fault in faults[:8]:
        name = ".".join(str(step) for step in fault["loc"][1:])[:80]
        if fault["type"] == "extra_forbidden":
            sentences.append(f"There is no field {name!r}.")
        elif fault["type"] == "missing":
            sentences.append(f"The field {name} is missing.")
        else:
            sentences.append(_option_sentence({**fault, "loc": (name,)}))
    return InvalidBodyProblem(" ".join(sentences))


def _no_json() -> Problem:
    return InvalidBodyProblem("The body is not JSON. Send it as application/json.", code="invalid_json")


def closest_name(given: str, known: Sequence[str]) -> str | None:
    """The known name that a misspelt one most resembles, if any does."""
    close = get_close_matches(given.lower(), known, n=1, cutoff=0.6)
    return close[0] if close else None


def declare(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """What a route's ``responses`` say of the problems it answers with: one entry per status, with all its codes.

    Each code is an example, which app.api.openapi puts into the document.
    """
    by_status: dict[int | str, list[type[Problem]]] = {}
    for problem in problems:
        by_status.setdefault(problem.status, []).append(problem)
    return {status: declared(kinds) for status, kinds in by_status.items()}


def declared(kinds: Sequence[type[Problem]]) -> dict[str, Any]:
    """One answer of the OpenAPI document: what ``kinds``, all of one status, have in common."""
    codes = dict.fromkeys(code for kind in kinds for code in kind.codes or (kind.code,))
    return {
        "description": "; ".join(dict.fromkeys(kind.title for kind in kinds))
        + ". Codes: "
        + ", ".join(f"`{code}`" for code in codes)
        + ".",
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
        **({"headers": {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}} if _waits(kinds) else {}),
    }


def _waits(kinds: Sequence[type[Problem]]) -> bool:
    return kinds[0].status in (429, 503)


def all_problems() -> list[type[Problem]]:
    """Every class of problem that there is."""

    def below(kind: type[Problem]) -> list[type[Problem]]:
        return [each for sub in kind.__subclasses__() for each in (sub, *below(sub))]

    return below(Problem)


def unexpected(error: Exception, scope: Scope) -> Problem:
    """Logs what nobody foresaw and gives the problem for it, which tells nothing of the inside."""
    _log.error("%s %s failed (%s)", scope["method"], scope["path"], scope.get(REQUEST_ID), exc_info=error)
    return InternalProblem("The service failed on this request. Try again; if it stays, report the request id.")


async def handle_problem(request: Request, error: Exception) -> Response:
    """Exception handler for everything that has a problem of its own."""
    if isinstance(error, Problem):
        return error.response(request.scope)
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, Problem):  # raised below the framework while it read a JSON body
            return error.__cause__.response(request.scope)
        if isinstance(error.__cause__, ValueError | RecursionError):
            return InvalidBodyProblem(
                "The body is not JSON. Send it as application/json.", code="invalid_json"
            ).response(request.scope)
        return of_http(error, request.scope).response(request.scope)
    if isinstance(error, JobsError | StorageError | EgressError):
        return of_job(error).response(request.scope)
    problem = of_picture(error) if isinstance(error, ImagingError | InferenceError) else None
    return (problem or unexpected(error, request.scope)).response(request.scope)


def _bound(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _option_sentence(fault: Mapping[str, Any]) -> str:
    name, given, context = str(fault["loc"][-1]), fault.get("input"), fault.get("ctx", {})
    kind = str(fault["type"])
    demands = {
        "int_parsing": "must be a whole number",
        "int_parsing_size": "must be a much smaller number",
        "float_parsing": "must be a number",
        "finite_number": "must be a number",
        "bool_parsing": "must be true or false",
        "greater_than_equal": f"must be at least {_bound(context.get('ge', 0))}",
        "less_than_equal": f"must be at most {_bound(context.get('le', 0))}",
        "literal_error": f"must be {str(context.get('expected', '')).replace(chr(39), '')}",
        "string_too_short": "must not be empty",
        "string_too_long": f"must have at most {context.get('max_length')} characters",
    }
    return f"{name} {demands.get(kind, str(fault['msg']))}, not {str(given)[:64]!r}."
