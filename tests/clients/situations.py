"""Services in every plight that a caller can be told of, so that the generated clients meet each problem live.

The clients read the plan that ``situations`` gives: addresses, keys and ids. What they then call, they know themselves.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from redis.asyncio import Redis

from app.api.keys import KeyLimits, KeyStore
from app.api.problems import JobFailedProblem, all_problems
from app.imaging.decode_pool import DecodePool
from app.imaging.jpeg_source import MAX_SCANS
from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.errors import DeviceLostError, DeviceOutOfMemoryError, NotFiniteError
from app.inference.registry import Registry
from app.jobs.scripts import Scripts
from app.storage import open_storage
from app.storage.local import LocalStorage
from tests.contract.served import KEY
from tests.integration.http.live import Computing, live
from tests.integration.http.pictures import BOUNDARY, multipart, png, post_head
from tests.integration.http.queue import queued
from tests.queue_server import queue_server
from tests.unit.imaging import samples

ELSEWHERE = {
    (400, "bad_request"): "what the framework refuses by itself; no documented call can cause it",
    (400, "malformed_request"): "not HTTP, which no HTTP client can send: tests/integration/http/test_heads.py",
    (405, "method_not_allowed"): "a generated client has no method that is not there: tests/integration/http",
    (431, "head_too_large"): "answered below every route, before a request is understood: test_heads.py again",
    (499, "client_gone"): "nobody is there to read it: tests/integration/http/test_overload.py",
    (415, "heic_not_supported"): "only without pillow-heif, which is always installed: tests/unit/imaging",
}
"""(status, code) of the problems that a client cannot meet on a live service -> why, and where they are tested."""

FAILURES = [code for code in JobFailedProblem.codes if code != "job_failed"]
"""How a job can fail of which its picture is innocent. A picture called CODE.png fails so on the service ``idle``."""


def declared() -> set[tuple[int, str]]:
    """(status, code) of every problem that there is."""
    return {(kind.status, code) for kind in all_problems() for code in kind.codes or (kind.code,)}


def pictures(folder: Path) -> None:
    """What the clients send."""

    def saved(name: str, picture: Image.Image, **how: Any) -> None:
        picture.save(folder / name, **how)

    (folder / "cat.png").write_bytes(png(64, 56))
    (folder / "notes.txt").write_text("These are notes.")
    saved("wide.png", Image.new("RGB", (5000, 2)))  # four times wider than a WebP can be
    saved("large.png", Image.new("RGB", (300, 200)))
    saved("medium.png", Image.new("RGB", (100, 90)))
    frames = [Image.new("RGB", (8, 8), (60 * index, 0, 0)) for index in range(4)]
    saved("four-frames.gif", frames[0], save_all=True, append_images=frames[1:])
    (folder / "float.tif").write_bytes(samples.tiff(np.ones((8, 8, 3), np.float32), photometric="rgb"))
    scene = samples.saved(samples.scene(), "JPEG", progressive=True)
    scan = scene.rindex(b"\xff\xda")
    (folder / "scans.jpg").write_bytes(scene[:scan] + scene[scan:-2] * (MAX_SCANS + 1) + scene[-2:])
    noise = np.random.default_rng(5).integers(0, 256, (400, 400, 3), np.uint8)
    saved("noise.png", Image.fromarray(noise))
    saved("broken.png", Image.fromarray(noise[:90, :90]))
    (folder / "broken.png").write_bytes((folder / "broken.png").read_bytes()[:-2000])


@contextmanager
def situations(folder: Path, registry: Registry) -> Iterator[dict[str, Any]]:
    """The plan, while its services live."""
    pictures(folder)
    (folder / "key").write_text(KEY)
    with ExitStack() as held:
        plan: dict[str, Any] = {"folder": str(folder), "key": KEY, "failures": FAILURES}
        plan["urls"] = {
            **_with_keys(held, folder / "main", registry, plan),
            **_idle(held, folder / "idle", plan),
            **_strict(held, registry),
            **_at_a_loss(held),
            **_without_storage(held, folder),
        }
        yield plan


def _served(held: ExitStack, folder: Path, registry: Registry, **settings: Any) -> Any:
    """A service with a queue server, a store and a real engine."""
    folder.mkdir()
    engine = Engine(registry, platform="cpu", threads=1)  # the server closes it
    return held.enter_context(
        queued(
            held.enter_context(queue_server()).url,
            open_storage((folder / "store").as_uri()),
            Backend(engine.registry, engine, enlarge),
            data_dir=folder,
            **settings,
        )
    )


def _with_keys(held: ExitStack, folder: Path, registry: Registry, plan: dict[str, Any]) -> dict[str, str]:
    """``main``: a service as it should be, with keys; ``fleeting``: its results are soon gone."""
    closed_port = socket.create_server(("127.0.0.1", 0))
    with closed_port:
        nobody = f"127.0.0.1:{closed_port.getsockname()[1]}"
    key_file = folder.with_name("key")
    main = _served(
        *(held, folder, registry),
        allow_anonymous=False,
        bootstrap_key_file=key_file,
        egress_allowed_hosts=(nobody,),
        evaluation_max_pixels=50_000,
    )
    held.enter_context(main.working())
    plan["nobody"] = f"http://{nobody}/cat.png"

    async def make_keys() -> dict[str, str]:
        async with Redis.from_url(main.redis_url) as redis:
            store = KeyStore(redis)
            limits = {
                "poor": KeyLimits(storage_mb=1),
                "hasty": KeyLimits(requests_per_minute=1),
            }
            made = {name: (await store.create(name, limits=limit))[1] for name, limit in limits.items()}
            return {**made, "reader": (await store.create("reader", ["read"]))[1]}

    plan["keys"] = asyncio.run(make_keys())
    with httpx.Client(base_url=main.url, headers={"X-API-Key": KEY}) as client:
        place = client.post("/v1/uploads", json={"name": "a.png", "bytes": 5}).raise_for_status().json()
        main.storage.put(f"uploads/{place['id']}", b"abc")  # as if it had gone straight into a bucket
        plan["short_upload"] = place["id"]

    fleeting = _served(held, folder.with_name("fleeting"), registry, result_ttl=1, cache_ttl=0)
    with fleeting.working(), httpx.Client(base_url=fleeting.url) as client:
        answer = client.post(
            "/v1/upscale?scale=2&model=nearest", files={"image": png()}, headers={"Prefer": "respond-async"}
        )
        plan["expired_job"] = answer.raise_for_status().json()["id"]
        deadline = time.monotonic() + 60
        while client.get(f"/v1/jobs/{plan['expired_job']}").json()["state"] != "expired":
            assert time.monotonic() < deadline, "the job does not expire"
            time.sleep(0.1)
    return {"main": main.url, "fleeting": fleeting.url}


def _idle(held: ExitStack, folder: Path, plan: dict[str, Any]) -> dict[str, str]:
    """``idle``: takes jobs, and nobody works on them, but those of a picture called CODE.png are failed with CODE."""
    folder.mkdir()
    queue = held.enter_context(queue_server()).url
    one = held.enter_context(live(Computing(), queue=queue, store=folder / "store", receive_idle_seconds=3600))
    over = threading.Event()

    async def fail() -> None:
        async with Redis.from_url(queue) as redis, httpx.AsyncClient(base_url=one.url) as client:
            run = Scripts(redis)
            while not over.is_set():
                for job in (await client.get("/v1/jobs")).json()["jobs"]:
                    code = (job["sources"][0]["name"] or "").removesuffix(".png")
                    if job["state"] == "queued" and code in (*FAILURES, "job_failed"):
                        given = code if code in FAILURES else "of_another_version"
                        await run("fail", f"{job['id']}.1.prepare.0.0", given, "It could not be done.")
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(fail()))
    thread.start()
    held.callback(thread.join)
    held.callback(over.set)

    body = multipart(png())
    held_back = held.enter_context(socket.create_connection((one.host, one.port)))
    held_back.sendall(post_head(len(body), Idempotency_Key="held-back", Prefer="respond-async") + body[:50])
    plan["held_key"] = "held-back"
    return {"idle": one.url}


def _strict(held: ExitStack, registry: Registry) -> dict[str, str]:
    """``strict``: small limits and no queue; ``slow``: the same over a line that soon stands still; ``costly``:
    decoding may take no time at all."""
    engine = Engine(registry, platform="cpu", threads=1)
    strict = held.enter_context(
        live(
            Computing(),
            load=lambda _: Backend(engine.registry, engine, enlarge),
            max_body_bytes=700_000,
            max_input_pixels=50_000,
            max_frames=3,
            sync_max_output_pixels=40_000,
            receive_idle_seconds=0.3,
        )
    )
    strict.wait_until(lambda: strict.service.state == "ready")
    other = Engine(registry, platform="cpu", threads=1)
    pool = DecodePool(size=1, seconds=0.01, memory_mb=256)
    costly = held.enter_context(
        live(Computing(), load=lambda _: Backend(other.registry, other, partial(enlarge, decoder=pool), pool))
    )
    costly.wait_until(lambda: costly.service.state == "ready")
    slow = held.enter_context(_line_that_stands_still(strict.host, strict.port))
    return {"strict": strict.url, "slow": slow, "costly": costly.url}


def _at_a_loss(held: ExitStack) -> dict[str, str]:
    """Services that cannot do what they should."""
    failures = {
        "failing": RuntimeError("nobody foresaw it"),
        "infinite": NotFiniteError("The model gives no numbers for this picture. Try another model."),
        "narrow": DeviceOutOfMemoryError("The device has no memory for this. Try a smaller picture."),
        "lost": DeviceLostError("The device is gone. Try again later."),
    }
    urls = {name: held.enter_context(live(Computing(fail=failure))).url for name, failure in failures.items()}

    release = threading.Event()

    def load(_: object) -> Backend:
        release.wait(3600)
        raise RuntimeError("it was never wanted")

    urls["starting"] = held.enter_context(live(Computing(), load=load)).url
    held.callback(release.set)

    stopping = held.enter_context(live(Computing()))
    stopping.service.drain()
    full = held.enter_context(live(Computing(hold=threading.Event()), max_requests=1))
    body = multipart(png())
    holding = held.enter_context(socket.create_connection((full.host, full.port)))
    holding.sendall(post_head(len(body)) + body)
    full.wait_until(lambda: full.service.admission.requests == 1)
    return {
        **urls,
        "stopping": stopping.url,
        "full": full.url,
        "renamed": held.enter_context(live(Computing(), allowed_hosts=("chetko.example",))).url,
        "public": held.enter_context(
            live(Computing(), queue=held.enter_context(queue_server()).url, host="0.0.0.0", allow_anonymous=True)  # noqa: S104
        ).url,
    }


def _without_storage(held: ExitStack, folder: Path) -> dict[str, str]:
    """``brim``: its disk counts as full; ``astray``: its store's folder is gone, and a file lies there."""
    brim, astray = folder / "brim", folder / "astray"
    urls = {}
    for place, least in ((brim, 10**18), (astray, 0)):
        store = LocalStorage(place, min_free_bytes=least)
        url = held.enter_context(queue_server()).url
        urls[place.name] = held.enter_context(live(Computing(), queue=url, store=store)).url
    shutil.rmtree(astray)
    astray.write_text("no folder")
    return urls


@contextmanager
def _line_that_stands_still(host: str, port: int) -> Iterator[str]:
    """The address of a proxy that passes on the first 500 bytes of each connection and then no more; what comes back
    it passes on whole."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(ours: socket.socket) -> None:
        with ours, socket.create_connection((host, port)) as theirs, suppress(OSError):
            theirs.sendall(ours.recv(500, socket.MSG_WAITALL))
            # The rest is taken, so that the client is not held up, and goes nowhere.
            threading.Thread(target=_swallow, args=(ours,), daemon=True).start()
            while data := theirs.recv(65536):
                ours.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def _swallow(connection: socket.socket) -> None:
    with suppress(OSError):
        while connection.recv(65536):
            pass


def bodies(folder: Path) -> None:
    """Bodies that a generated client does not make by itself, for what lies between it and the service: NAME.body."""
    whole = multipart(png())
    part = b'\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    edge = f"--{BOUNDARY}".encode()
    for name, body in {
        "cut-off": whole[:-20],
        "two-parts": edge + part + png() + b"\r\n" + edge + part + png() + b"\r\n" + edge + b"--\r\n",
        "other-name": multipart(png(), name="picture"),
        "no-multipart": b"These are no parts.",
        "nothing": b"",
        "no-json": b"{'no': json",
    }.items():
        (folder / f"{name}.body").write_bytes(body)


def write_plan(folder: Path, plan: dict[str, Any]) -> Path:
    """The plan as a file for the clients, and the bodies beside it."""
    bodies(folder)
    path = folder / "plan.json"
    path.write_text(json.dumps({**plan, "boundary": BOUNDARY, "cat": base64.b64encode(png(64, 56)).decode()}))
    return path
