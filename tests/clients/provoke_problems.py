"""Meets every problem through the generated Python client: ``provoke_problems.py PLAN``, which ``situations`` wrote.

Prints the (status, code) of all that it met. Checked by ``mypy --strict`` before it is run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import httpx
from chetko_client import AuthenticatedClient, Client
from chetko_client.api.evaluations import evaluations_create
from chetko_client.api.jobs import (
    jobs_create,
    jobs_delete,
    jobs_events,
    jobs_get,
    jobs_list,
    jobs_result,
    jobs_shared,
    jobs_tiles,
)
from chetko_client.api.models import models_get, models_list
from chetko_client.api.pictures import pictures_upscale
from chetko_client.api.service import service_discover
from chetko_client.api.uploads import uploads_create, uploads_delete, uploads_put
from chetko_client.models import (
    EvaluationsCreateBody,
    JobDocument,
    JobRequest,
    NewUpload,
    PicturesUpscaleBody,
    PicturesUpscaleFormat,
    Problem,
    SourceOfJob,
    UploadDocument,
    UpscaleQuery,
)
from chetko_client.types import File, Response

T = TypeVar("T")

PLAN: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
FOLDER = Path(PLAN["folder"])
MET: set[tuple[int, str]] = set()


def met(answer: Response[T], status: int, code: str) -> None:
    """The answer is this problem, as a typed document."""
    problem = answer.parsed
    assert isinstance(problem, Problem), (code, answer.status_code, answer.content[:300])
    assert (answer.status_code, problem.status, problem.code) == (status, status, code), problem
    assert problem.type_ == f"urn:chetko:problem:{code}"
    assert problem.detail
    assert problem.title
    assert problem.request_id == answer.headers["x-request-id"]
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    MET.add((status, code))


def at(name: str, **headers: str) -> Client:
    """A service of the plan, without a key."""
    return Client(base_url=PLAN["urls"][name], headers=headers, timeout=httpx.Timeout(60))


def main_with(key: str, **headers: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=PLAN["urls"]["main"], token=key, headers=headers, timeout=httpx.Timeout(60))


class Changed(httpx.HTTPTransport):
    """What lies between a client and the service and changes requests, as careless proxies and middleware do."""

    def __init__(self, change: Callable[[httpx.Request], httpx.Request]) -> None:
        super().__init__()
        self.change = change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(self.change(request))


def changed(
    name: str,
    *,
    path: str | None = None,
    media_type: str | None = None,
    body: str | None = None,
) -> Client:
    """A service of the plan, reached by requests with another address, media type or body (NAME.body)."""

    def change(request: httpx.Request) -> httpx.Request:
        headers = {"X-API-Key": PLAN["key"]} if name == "main" else {}
        content = request.read() if body is None else (FOLDER / f"{body}.body").read_bytes()
        told = media_type if media_type is not None else request.headers.get("content-type")
        if told is not None:
            headers["Content-Type"] = told
        url = request.url if path is None else request.url.copy_with(raw_path=path.encode())
        return httpx.Request(request.method, url, headers=headers, content=content)

    return Client(base_url=PLAN["urls"][name], httpx_args={"transport": Changed(change)}, timeout=httpx.Timeout(60))


def file(name: str, called: str | None = None) -> File:
    return File(payload=BytesIO((FOLDER / name).read_bytes()), file_name=called or name)


def image(name: str, called: str | None = None) -> PicturesUpscaleBody:
    return PicturesUpscaleBody(image=file(name, called))


def job_of(client: Client | AuthenticatedClient, *, model: str | None = None) -> JobDocument:
    """A job of the cat, on its way."""
    options = UpscaleQuery(scale=2) if model is None else UpscaleQuery(scale=2, model=model)
    job = jobs_create.sync(client=client, body=JobRequest(source=SourceOfJob(base64=PLAN["cat"]), options=options))
    assert isinstance(job, JobDocument), job
    return job


def who_may() -> None:
    met(models_list.sync_detailed(client=at("main")), 401, "needs_key")
    met(models_list.sync_detailed(client=main_with("ck_" + "x" * 43)), 401, "invalid_key")
    reader = main_with(PLAN["keys"]["reader"])
    met(pictures_upscale.sync_detailed(client=reader, body=image("cat.png")), 403, "missing_scope")
    hasty = main_with(PLAN["keys"]["hasty"])  # one request a minute
    while (answer := models_list.sync_detailed(client=hasty)).status_code == 200:
        pass
    met(answer, 429, "rate_limited")
    place = NewUpload(name="a", bytes_=2_000_000)
    met(uploads_create.sync_detailed(client=main_with(PLAN["keys"]["poor"]), body=place), 429, "quota_exceeded")
    met(jobs_list.sync_detailed(client=at("public")), 403, "listing_needs_key")
    met(service_discover.sync_detailed(client=at("renamed")), 421, "host_not_allowed")
    stranger = at("failing", Origin="https://evil.example")
    met(pictures_upscale.sync_detailed(client=stranger, body=image("cat.png")), 403, "cross_site_request")


def what_is_asked_for() -> None:
    main = main_with(PLAN["key"])
    cat = image("cat.png")
    met(models_get.sync_detailed("none", client=main), 404, "unknown_model")
    met(models_get.sync_detailed("x" * 500, client=main), 404, "not_found")
    met(pictures_upscale.sync_detailed(client=main, body=cat, model="none"), 422, "unknown_model")
    met(pictures_upscale.sync_detailed(client=main, body=cat, scale=9), 422, "invalid_option")
    met(pictures_upscale.sync_detailed(client=at("full"), body=cat, scale=5), 422, "unknown_scale")
    misspelt = changed("main", path="/v1/upscale?sclae=2")
    met(pictures_upscale.sync_detailed(client=misspelt, body=cat), 422, "unknown_option")


def bodies() -> None:
    cat = image("cat.png")
    multipart = f"multipart/form-data; boundary={PLAN['boundary']}"

    def refused(status: int, code: str, *, media_type: str | None = multipart, body: str | None = None) -> None:
        client = changed("main", media_type=media_type, body=body)
        met(pictures_upscale.sync_detailed(client=client, body=cat), status, code)

    refused(415, "not_multipart", media_type="image/png")
    refused(400, "missing_boundary", media_type="multipart/form-data")
    refused(400, "malformed_multipart", body="no-multipart")
    refused(400, "body_incomplete", body="cut-off")
    refused(400, "empty_body", body="nothing")
    refused(422, "wrong_field", body="other-name")
    refused(422, "too_many_parts", body="two-parts")
    packed = main_with(PLAN["key"], **{"Content-Encoding": "gzip"})
    met(pictures_upscale.sync_detailed(client=packed, body=cat), 415, "content_encoding")
    empty = PicturesUpscaleBody(image=File(payload=BytesIO(), file_name="a.png"))
    met(pictures_upscale.sync_detailed(client=main_with(PLAN["key"]), body=empty), 422, "empty_picture")
    met(pictures_upscale.sync_detailed(client=at("slow"), body=image("noise.png")), 408, "upload_too_slow")
    request = JobRequest(source=SourceOfJob(base64=PLAN["cat"], upload_id="both"))
    met(jobs_create.sync_detailed(client=main_with(PLAN["key"]), body=request), 422, "invalid_body")
    no_json = changed("main", media_type="application/json", body="no-json")
    met(jobs_create.sync_detailed(client=no_json, body=request), 422, "invalid_json")


def pictures() -> None:
    def refused(where: str, name: str, status: int, code: str, *, scale: float = 2, as_: str = "png") -> None:
        client = main_with(PLAN["key"]) if where == "main" else at(where)
        form = PicturesUpscaleFormat(as_)
        answer = pictures_upscale.sync_detailed(
            client=client, body=image(name), model="nearest", scale=scale, format_=form
        )
        met(answer, status, code)

    refused("main", "notes.txt", 415, "unsupported_format")
    refused("main", "float.tif", 415, "unsupported_samples")
    refused("strict", "broken.png", 422, "broken_picture")
    refused("main", "scans.jpg", 422, "too_many_scans")
    refused("main", "wide.png", 422, "format_cannot_hold", scale=4, as_="webp")
    refused("strict", "large.png", 413, "too_many_pixels")
    refused("strict", "four-frames.gif", 413, "too_many_frames", as_="gif")
    refused("strict", "medium.png", 413, "output_too_large", scale=4)
    refused("costly", "cat.png", 413, "decoding_too_costly")
    heavy = PicturesUpscaleBody(image=File(payload=BytesIO(bytes(800_000)), file_name="a.png"))
    met(pictures_upscale.sync_detailed(client=at("strict"), body=heavy), 413, "body_too_large")
    main = main_with(PLAN["key"])
    nothing = JobRequest(source=SourceOfJob(base64=""))
    met(jobs_create.sync_detailed(client=main, body=nothing), 422, "empty_file")
    small = EvaluationsCreateBody(image=file("four-frames.gif"))
    met(evaluations_create.sync_detailed(client=main, body=small), 415, "picture_too_small")


def at_a_loss() -> None:
    def refused(where: str, status: int, code: str) -> None:
        met(pictures_upscale.sync_detailed(client=at(where), body=image("cat.png"), scale=2), status, code)

    refused("failing", 500, "internal_error")
    refused("infinite", 500, "not_finite")
    refused("narrow", 503, "device_out_of_memory")
    refused("lost", 503, "device_lost")
    refused("starting", 503, "not_ready")
    refused("stopping", 503, "draining")
    refused("full", 503, "overloaded")
    met(jobs_get.sync_detailed("job_none", client=at("strict")), 503, "queue_unavailable")
    met(_sent_as_job("brim"), 503, "storage_full")
    met(_sent_as_job("astray"), 503, "storage_unavailable")


def _sent_as_job(where: str) -> Response[Any]:
    client = at(where, Prefer="respond-async")
    return pictures_upscale.sync_detailed(client=client, body=image("cat.png"), scale=2)


def uploads() -> None:
    main, idle = main_with(PLAN["key"]), at("idle")

    def place(client: Client | AuthenticatedClient, size: int) -> str:
        upload = uploads_create.sync(client=client, body=NewUpload(name="cat.png", bytes_=size))
        assert isinstance(upload, UploadDocument), upload
        return upload.id

    def as_source(upload: str) -> JobRequest:
        return JobRequest(source=SourceOfJob(upload_id=upload), options=UpscaleQuery(scale=2))

    cat = (FOLDER / "cat.png").read_bytes()
    met(uploads_put.sync_detailed("up_none", client=main, body=file("cat.png")), 404, "unknown_upload")
    empty = place(main, 5)
    met(jobs_create.sync_detailed(client=main, body=as_source(empty)), 409, "upload_incomplete")
    short = as_source(PLAN["short_upload"])
    met(jobs_create.sync_detailed(client=main, body=short), 409, "upload_size_differs")
    whole = changed("main", media_type="multipart/form-data; boundary=x")
    met(uploads_put.sync_detailed(empty, client=whole, body=file("cat.png")), 415, "multipart_not_taken")
    assert uploads_delete.sync_detailed(empty, client=main).status_code == 204
    used = place(idle, len(cat))
    assert uploads_put.sync_detailed(used, client=idle, body=file("cat.png")).status_code == 204
    assert isinstance(jobs_create.sync(client=idle, body=as_source(used)), JobDocument)
    met(uploads_delete.sync_detailed(used, client=idle), 409, "upload_in_use")


def jobs() -> None:
    main, idle = main_with(PLAN["key"]), at("idle")
    met(jobs_get.sync_detailed("job_none", client=main), 404, "unknown_job")
    met(jobs_shared.sync_detailed("none", client=main), 404, "unknown_share")
    met(jobs_result.sync_detailed(PLAN["expired_job"], client=at("fleeting")), 410, "job_expired")

    done = job_of(main, model="nearest")
    events = jobs_events.sync(done.id, client=main)
    assert isinstance(events, str)
    assert '"state":"succeeded"' in events
    met(jobs_tiles.sync_detailed(done.id, client=main), 404, "no_tiles")
    beyond = main_with(PLAN["key"], Range="bytes=10000000-")
    met(jobs_result.sync_detailed(done.id, client=beyond), 416, "range_not_satisfiable")

    waiting = job_of(idle)
    met(jobs_result.sync_detailed(waiting.id, client=idle), 409, "job_not_finished")
    assert jobs_delete.sync_detailed(waiting.id, client=idle).status_code == 204
    met(jobs_result.sync_detailed(waiting.id, client=idle), 409, "job_cancelled")

    patient = at("idle", Prefer="wait=30")
    for code in (*PLAN["failures"], "job_failed"):
        answer = pictures_upscale.sync_detailed(client=patient, body=image("cat.png", f"{code}.png"), scale=2)
        met(answer, 500, code)
    listed = jobs_list.sync(client=idle)
    assert not isinstance(listed, Problem)
    assert listed is not None
    failed = next(each for each in listed.jobs if each.state.value == "failed")
    met(jobs_result.sync_detailed(failed.id, client=idle), 409, "job_failed")

    held = at("idle", **{"Idempotency-Key": PLAN["held_key"]})
    request = JobRequest(source=SourceOfJob(base64=PLAN["cat"]), options=UpscaleQuery(scale=2))
    met(jobs_create.sync_detailed(client=held, body=request), 409, "idempotency_in_progress")
    twice = at("idle", **{"Idempotency-Key": "python-twice"})
    assert isinstance(jobs_create.sync(client=twice, body=request), JobDocument)
    other = JobRequest(source=SourceOfJob(base64=PLAN["cat"]), options=UpscaleQuery(scale=1.5))
    met(jobs_create.sync_detailed(client=twice, body=other), 422, "idempotency_conflict")

    def of(url: str) -> JobRequest:
        return JobRequest(source=SourceOfJob(url=url))

    met(jobs_create.sync_detailed(client=main, body=of(PLAN["nobody"])), 422, "download_failed")
    met(jobs_create.sync_detailed(client=main, body=of("http://127.0.0.1:1/a.png")), 422, "address_not_allowed")


if __name__ == "__main__":
    for part in (who_may, what_is_asked_for, bodies, pictures, at_a_loss, uploads, jobs):
        part()
    sys.stdout.write(json.dumps(sorted(MET)))
