"""The real service, its pictures in a bucket: a job from end to end, and an outage of the bucket."""

from __future__ import annotations

import io
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.integration.http.live import real_server
from tests.s3_server import BUCKET, start_s3


@pytest.mark.slow
@pytest.mark.parametrize("corrected", [True, False], ids=["as S3", "as docker/compose.yaml and k8s/base run it"])
def test_a_job_in_a_bucket_and_an_outage(tmp_path: Path, corrected: bool) -> None:
    file = io.BytesIO()
    Image.effect_noise((300, 200), 50).convert("RGB").save(file, "PNG")

    def ask(url: str) -> httpx.Response:
        files = {"image": ("a.png", file.getvalue())}
        headers = {"Prefer": "respond-async"}
        return httpx.post(f"{url}/v1/upscale?scale=2", files=files, headers=headers, timeout=120)

    settings = {"CHETKO_STORAGE_URL": f"s3://{BUCKET}/pictures", "CHETKO_DATA_DIR": str(tmp_path / "data")}
    with (
        start_s3(tmp_path, corrected=corrected) as bucket,
        real_server(worker=True, **settings, **bucket.environ()) as server,
    ):
        answer = ask(server.url)
        assert answer.status_code == 202, answer.text
        job = server.url + answer.headers["location"]
        deadline = time.monotonic() + 120
        while (state := httpx.get(job).json()["state"]) != "succeeded":
            assert state in {"queued", "preparing", "running", "assembling"}
            assert time.monotonic() < deadline
            time.sleep(0.1)
        result = httpx.get(job + "/result").content
        with Image.open(io.BytesIO(result)) as picture:
            assert picture.size == (600, 400)
        part = httpx.get(job + "/result", headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, result[10:20])
        assert any(path.is_file() for path in (bucket.folder / "pictures" / "jobs").rglob("*"))

        bucket.process.kill()
        bucket.process.wait(10)
        refused = ask(server.url)
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert httpx.get(server.url + "/readyz").status_code == 200
