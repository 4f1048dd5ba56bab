"""``make bench``: what serving one picture costs over a bare onnxruntime call on the same pixels.

In one run, side by side: each round sends a 512 x 512 photo through HTTP as JPEG and as PNG and runs the bare session
on the same pixels; medians of the rounds are compared. ``/livez`` is the idle baseline of the door itself.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import time
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.service import running_service

ROOT = Path(__file__).resolve().parents[1]
BOUNDS = {"jpeg": 1.15, "png": 1.35}


def photo(edge: int) -> Image.Image:
    """The example photo's central square."""
    image = Image.open(ROOT / "app/web/examples/dog.jpg").convert("RGB")
    margin = (image.width - edge) // 2
    return image.crop((margin, margin, margin + edge, margin + edge))


def as_file(image: Image.Image, kind: str) -> bytes:
    """``image`` as the bytes of a PNG, or of a JPEG of quality 92."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 92} if kind == "jpeg" else {}))
    return buffer.getvalue()


def threads() -> int:
    """The cores that this process may use, which the service uses too."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(*, model: str, scale: int, edge: int, rounds: int) -> dict[str, object]:
    """Seconds per round of each way, and their ratios to the bare call."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    # Else this session's threads spin on after its run and take the processor from whatever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        ROOT / f"app/models/{model}/x{scale}.onnx", options, providers=["CPUExecutionProvider"]
    )
    image = photo(edge)
    pixels = np.asarray(image)[None]
    files = {"jpeg": as_file(image, "jpeg"), "png": as_file(image, "png")}
    seconds: dict[str, list[float]] = {"bare": [], "livez": [], "jpeg": [], "png": []}
    parts: dict[str, list[str]] = {"jpeg": [], "png": []}
    with running_service() as url, httpx.Client(base_url=url, timeout=120) as client:
        for round_number in range(rounds + 2):
            took = {}
            began = time.perf_counter()
            session.run(None, {"image": pixels})
            took["bare"] = time.perf_counter() - began
            began = time.perf_counter()
            client.get("/livez").raise_for_status()
            took["livez"] = time.perf_counter() - began
            for kind, data in files.items():
                began = time.perf_counter()
                answer = client.post(
                    "/v1/upscale", params={"scale": scale, "model": model, "format": kind}, files={"image": data}
                )
                took[kind] = time.perf_counter() - began
                answer.raise_for_status()
                parts[kind].append(answer.headers["server-timing"])
            if round_number >= 2:  # the first two warm everything up
                for key, value in took.items():
                    seconds[key].append(value)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    return {
        "machine": platform.processor() or platform.machine(), "threads": threads(), "model": f"{model}/x{scale}",
        "edge": edge, "rounds": rounds, "median_seconds": medians,
        "ratio": {kind: medians[kind] / medians["bare"] for kind in BOUNDS},
        # Each round's own ratio: what else the machine does then weighs on both of its sides.
        "median_of_ratios": {
            kind: statistics.median(a / b for a, b in zip(seconds[kind], seconds["bare"], strict=True))
            for kind in BOUNDS
        },
        "server_timing": {kind: parts[kind][-1] for kind in BOUNDS},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    result = measure(**{k: v for k, v in vars(parser.parse_args()).items() if k != "json"})
    if parser.parse_args().json:
        print(json.dumps(result, indent=2))
        return
    medians, ratios = result["median_seconds"], result["median_of_ratios"]
    size = f"{result['edge']} x {result['edge']}"
    print(f"{result['model']}, {size} in, {result['threads']} threads, {result['rounds']} rounds")
    print(f"{'bare onnxruntime':<24}{medians['bare'] * 1000:9.1f} ms")
    print(f"{'/livez':<24}{medians['livez'] * 1000:9.1f} ms")
    for kind, bound in BOUNDS.items():
        verdict = "within" if ratios[kind] <= bound else "ABOVE"
        took = f"{'HTTP, format=' + kind:<24}{medians[kind] * 1000:9.1f} ms"
        print(f"{took}   {ratios[kind]:.3f} x bare, {verdict} {bound}")
        print(f"{'':<24}{result['server_timing'][kind]}")


if __name__ == "__main__":
    main()
