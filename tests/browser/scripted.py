"""States that last for a moment, held still: the next two pictures that the page sends stay running and queued."""

from __future__ import annotations

import json
from typing import Any

_COMMON = {
    "started_at": None,
    "finished_at": None,
    "expires_at": None,
    "options": {},
    "sources": [],
    "result": None,
    "error": None,
    "notices": [],
}
_STATES = (
    {
        "state": "running",
        "progress": 0.58,
        "strips": {"done": 7, "total": 12},
        "position": None,
        "seconds_left": 14.0,
    },
    {"state": "queued", "progress": 0, "strips": {"done": 0, "total": 0}, "position": 3, "seconds_left": None},
)


def hold_still(page: Any) -> None:
    """Answers in the service's place from now on, for two pictures; later ones go to the service."""
    waiting = iter(_jobs())
    jobs: dict[str, dict[str, Any]] = {}

    def submit(route: Any) -> None:
        # Without this header it is a sample or a comparison, which is answered at once.
        job = next(waiting, None) if "prefer" in route.request.headers else None
        if job is None:
            route.continue_()
            return
        jobs[job["id"]] = job
        route.fulfill(status=202, json=job)

    def tell(route: Any) -> None:
        job = jobs[route.request.url.split("/v1/jobs/")[1].split("/")[0]]
        if route.request.url.endswith("/events"):
            # The stream ends here; the browser would ask again at once.
            body = f"retry: 600000\nid: 1\nevent: snapshot\ndata: {json.dumps(job)}\n\n"
            route.fulfill(content_type="text/event-stream", body=body)
        else:
            route.fulfill(json=job)

    page.route("**/v1/upscale?*", submit)
    page.route("**/v1/jobs/job_still_*", tell)
    page.route("**/v1/jobs/job_still_*/events", tell)


def _jobs() -> list[dict[str, Any]]:
    found = []
    for number, state in enumerate(_STATES):
        at = f"/v1/jobs/job_still_{number}"
        links = {"self": at, **{name: f"{at}/{name}" for name in ("events", "result", "tiles")}}
        found.append({"id": f"job_still_{number}", **_COMMON, **state, "links": links})
    return found
