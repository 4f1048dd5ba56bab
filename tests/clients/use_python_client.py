"""Uses the generated Python client against a live service: ``use_python_client.py URL KEY PICTURE``.

Checked by ``mypy --strict`` before it is run, as a program of a user's would be.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from chetko_client import AuthenticatedClient, Client
from chetko_client.api.evaluations import evaluations_create
from chetko_client.api.jobs import (
    jobs_create,
    jobs_delete,
    jobs_events,
    jobs_get,
    jobs_list,
    jobs_result,
    jobs_share,
    jobs_shared,
)
from chetko_client.api.models import models_get, models_list
from chetko_client.api.pictures import pictures_upscale
from chetko_client.api.probes import probes_livez, probes_readyz
from chetko_client.api.service import service_discover, service_limits
from chetko_client.api.uploads import uploads_create, uploads_delete, uploads_put, uploads_share
from chetko_client.models import (
    Alive,
    CallerLimits,
    Discovery,
    EvaluationDocument,
    EvaluationsCreateBody,
    EvaluationsCreateScale,
    JobDocument,
    JobList,
    JobRequest,
    ModelDocument,
    ModelList,
    NewUpload,
    PicturesUpscaleBody,
    PicturesUpscaleFormat,
    Problem,
    Ready,
    ShareDocument,
    SourceOfJob,
    UploadDocument,
    UpscaleQuery,
)
from chetko_client.types import File, Response

T = TypeVar("T")


def refused(answer: Response[T], status: int, code: str) -> None:
    """The answer is this problem, as a typed document."""
    problem = answer.parsed
    assert isinstance(problem, Problem), answer.content
    assert (answer.status_code, problem.status, problem.code) == (status, status, code), problem
    assert problem.detail
    assert problem.request_id == answer.headers["x-request-id"]


def main(url: str, key: str, path: Path) -> None:
    client = AuthenticatedClient(base_url=url, token=key)
    stranger = AuthenticatedClient(base_url=url, token="ck_" + "x" * 43)
    content = path.read_bytes()

    def picture() -> File:
        return File(payload=BytesIO(content), file_name="cat.png", mime_type="image/png")

    # What is here.
    discovery = service_discover.sync(client=client)
    assert isinstance(discovery, Discovery)
    assert discovery.authentication.signed_in
    limits = service_limits.sync(client=client)
    assert isinstance(limits, CallerLimits)
    assert (limits.max_concurrent, limits.max_jobs) == (16, 100)
    assert isinstance(probes_livez.sync(client=Client(base_url=url)), Alive)
    assert isinstance(probes_readyz.sync(client=Client(base_url=url)), Ready)
    models = models_list.sync(client=client)
    assert isinstance(models, ModelList)
    assert "nearest" in [model.name for model in models.models]
    model = models_get.sync("nearest", client=client)
    assert isinstance(model, ModelDocument)

    # A picture at once.
    large = pictures_upscale.sync(
        client=client,
        body=PicturesUpscaleBody(image=picture()),
        model="nearest",
        scale=2,
        format_=PicturesUpscaleFormat.PNG,
    )
    assert isinstance(large, File)
    assert large.payload.read(8) == b"\x89PNG\r\n\x1a\n"

    # A large file: upload, job, events, result, link, removal.
    upload = uploads_create.sync(client=client, body=NewUpload(name="cat.png", bytes_=len(content)))
    assert isinstance(upload, UploadDocument)
    put = uploads_put.sync_detailed(upload.id, client=client, body=picture())
    assert put.status_code == 204, put.content
    job = jobs_create.sync(
        client=client,
        body=JobRequest(source=SourceOfJob(upload_id=upload.id), options=UpscaleQuery(model="nearest", scale=2)),
    )
    assert isinstance(job, JobDocument)
    events = jobs_events.sync(job.id, client=client)
    assert isinstance(events, str)
    states = [json.loads(line[6:])["state"] for line in events.splitlines() if line.startswith("data: ")]
    assert states[-1] == "succeeded"
    result = jobs_result.sync(job.id, client=client)
    assert isinstance(result, File)
    enlarged = result.payload.read()
    listed = jobs_list.sync(client=client)
    assert isinstance(listed, JobList)
    assert job.id in [each.id for each in listed.jobs]
    share = jobs_share.sync(job.id, client=client)
    assert isinstance(share, ShareDocument)
    shared = jobs_shared.sync(share.url.removeprefix("/v1/shared/"), client=Client(base_url=url))
    assert isinstance(shared, File)
    assert shared.payload.read() == enlarged
    strip = uploads_create.sync(client=client, body=NewUpload(name="strip.png", bytes_=len(content)))
    assert isinstance(strip, UploadDocument)
    assert uploads_put.sync_detailed(strip.id, client=client, body=picture()).status_code == 204
    link = uploads_share.sync(strip.id, client=client, job=job.id)
    assert isinstance(link, ShareDocument)
    seen = jobs_shared.sync(link.url.removeprefix("/v1/shared/"), client=Client(base_url=url))
    assert isinstance(seen, File)
    assert seen.payload.read() == content
    assert jobs_delete.sync_detailed(job.id, client=client).status_code == 204
    refused(jobs_get.sync_detailed(job.id, client=client), 404, "unknown_job")

    # Cancelled before it is done.
    doomed = jobs_create.sync(
        client=client,
        body=JobRequest(source=SourceOfJob(base64=base64.b64encode(content).decode()), options=UpscaleQuery(scale=8)),
    )
    assert isinstance(doomed, JobDocument)
    assert jobs_delete.sync_detailed(doomed.id, client=client).status_code == 204
    deadline = time.monotonic() + 60
    while True:
        state = jobs_get.sync(doomed.id, client=client)
        if isinstance(state, Problem) or (state is not None and state.state.value in ("cancelled", "succeeded")):
            break
        assert time.monotonic() < deadline, state

    # A measurement.
    evaluation = evaluations_create.sync(
        client=client,
        body=EvaluationsCreateBody(image=picture()),
        models="nearest",
        scale=EvaluationsCreateScale.VALUE_2,
    )
    assert isinstance(evaluation, EvaluationDocument)
    assert [method.name for method in evaluation.methods] == ["bicubic", "nearest"]

    # Refusals are typed, too.
    body = PicturesUpscaleBody(image=picture())
    refused(models_list.sync_detailed(client=stranger), 401, "invalid_key")
    refused(models_get.sync_detailed("none", client=client), 404, "unknown_model")
    refused(pictures_upscale.sync_detailed(client=client, body=body, model="none"), 422, "unknown_model")
    refused(pictures_upscale.sync_detailed(client=client, body=body, scale=9), 422, "invalid_option")
    text = PicturesUpscaleBody(image=File(payload=BytesIO(b"text"), file_name="a.txt"))
    refused(pictures_upscale.sync_detailed(client=client, body=text), 415, "unsupported_format")
    refused(uploads_put.sync_detailed("up_none", client=client, body=picture()), 404, "unknown_upload")
    refused(uploads_create.sync_detailed(client=client, body=NewUpload(name="a", bytes_=10**12)), 413, "body_too_large")
    empty = uploads_create.sync(client=client, body=NewUpload(name="a", bytes_=5))
    assert isinstance(empty, UploadDocument)
    incomplete = JobRequest(source=SourceOfJob(upload_id=empty.id))
    refused(jobs_create.sync_detailed(client=client, body=incomplete), 409, "upload_incomplete")
    assert uploads_delete.sync_detailed(empty.id, client=client).status_code == 204


def every_problem(document: Path) -> None:
    """Each code of the document is read into a typed problem and written back as it was."""
    examples = json.loads(document.read_text(encoding="utf-8"))["components"]["examples"]
    assert len(examples) > 40
    for code, example in examples.items():
        problem = Problem.from_dict(example["value"])
        assert problem.code == code
        assert problem.to_dict() == example["value"]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    every_problem(Path(sys.argv[4]))
    sys.stdout.write("the Python client works\n")
