"""LPIPS as an ONNX file, so that the service can measure it without torch."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from model_export.measure import Image8
from model_export.pictures import proving_set
from model_export.publish import write_whole
from model_export.serving import OPSET, graph_of, round_to_half, sha256, write_onnx
from training.evaluation.lpips import SMALLEST, Lpips
from training.resize import matlab_resize, shrink

FOLDER = Path(__file__).parents[1] / "app" / "models" / "_lpips"
"""The underscore keeps the service's registry from taking it for a model."""
FILE = "lpips.onnx"
MANIFEST = "manifest.json"
MOST_DIFFERENCE = 0.001
"""By which the file may differ from the torch one on any pair of pictures."""

LICENCE = """\
LPIPS, the linear layers in lpips.onnx
======================================
Copyright (c) 2018, Richard Zhang, Phillip Isola, Alexei A. Efros, Eli Shechtman, Oliver Wang
All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

* Redistributions of source code must retain the above copyright notice, this
  list of conditions and the following disclaimer.

* Redistributions in binary form must reproduce the above copyright notice,
  this list of conditions and the following disclaimer in the documentation
  and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.

AlexNet, the convolutions in lpips.onnx, as torchvision publishes them
======================================================================
Copyright (c) Soumith Chintala 2016,
All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

* Redistributions of source code must retain the above copyright notice, this
  list of conditions and the following disclaimer.

* Redistributions in binary form must reproduce the above copyright notice,
  this list of conditions and the following disclaimer in the documentation
  and/or other materials provided with the distribution.

* Neither the name of the copyright holder nor the names of its
  contributors may be used to endorse or promote products derived from
  this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


class LpipsProofError(Exception):
    """The ONNX file does not measure what the torch one measures; nothing was written."""


class _BetweenBytes(nn.Module):
    """Two (N, H, W, 3) uint8 RGB -> (N,) float32."""

    def __init__(self, lpips: Lpips) -> None:
        super().__init__()
        self.lpips = lpips

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        a, b = (image.permute(0, 3, 1, 2).float() / 255.0 for image in (first, second))
        distance: Tensor = self.lpips(a, b)
        return distance


def export_lpips(weights: Path, folder: Path, photos: list[Path]) -> Path:
    """Writes LPIPS of the torch ``weights`` to ``folder`` (file, manifest, licence); returns the manifest's path.

    Inputs ``first`` and ``second``: uint8, NHWC, RGB, any N, H and W from 31; output ``distance``: float32, (N,).
    Weights are stored as float16 and computed with in float32. Raises ``WeightsError``, and ``LpipsProofError`` when
    the file is further than 0.001 from the torch one, weights in float32, on a pair made of ``photos`` or of drawings.
    """
    lpips = Lpips(weights)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / FILE
        write_onnx(_graph(_BetweenBytes(lpips)), file)
        worst = _proven(lpips, file, photos)
        content = file.read_bytes()
    print(f"parity with PyTorch: at most {worst:.6f}")
    manifest: dict[str, Any] = {
        "schema": 1,
        "measure": "LPIPS 0.1 on AlexNet (Zhang 2018)",
        "licence": "BSD-2-Clause AND BSD-3-Clause",
        "smallest": SMALLEST,
        "opset": OPSET,
        "parity": {"max_difference": round(worst, 6)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "LICENSE", LICENCE.encode())
    write_whole(folder / FILE, content)
    described = {"file": FILE, "sha256": sha256(folder / FILE), "bytes": len(content)}
    write_whole(folder / MANIFEST, (json.dumps(manifest | {"files": {"uint8": described}}, indent=2) + "\n").encode())
    return folder / MANIFEST


def _graph(network: nn.Module) -> onnx.ModelProto:
    size = {0: torch.export.Dim("n"), 1: torch.export.Dim("h", min=SMALLEST), 2: torch.export.Dim("w", min=SMALLEST)}
    example = torch.zeros(2, 64, 70, 3, dtype=torch.uint8)
    # The optimizer takes the 1e-10 that keeps zero features from 0 / 0 for zero, and drops it.
    return graph_of(
        round_to_half(network), (example, example.clone()), inputs=["first", "second"], output="distance",
        shapes=(size, size), optimize=False,
    )  # fmt: skip


def _proven(lpips: Lpips, file: Path, photos: list[Path]) -> float:
    """The largest difference of ``file`` from ``lpips``. Raises ``LpipsProofError`` when it is over the limit."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    worst = 0.0
    for name, (first, second) in _pairs(photos).items():
        measured = float(session.run(None, {"first": first[None], "second": second[None]})[0][0])
        off = abs(measured - lpips.of_pictures(first, second))
        if not off <= MOST_DIFFERENCE:
            raise LpipsProofError(f"the exported LPIPS differs from PyTorch by {off:.4f} on {name}")
        worst = max(worst, off)
    return worst


def _pairs(photos: list[Path]) -> dict[str, tuple[Image8, Image8]]:
    """Each proving picture with its bicubic restoration, at x2 and x4, and with another one; one odd-sized pair."""
    pictures = proving_set(photos)
    pairs = {
        f"{name}, bicubic x{scale}": (image, matlab_resize(shrink(image, scale), scale))
        for name, image in pictures.items()
        for scale in (2, 4)
    }
    names = list(pictures)
    pairs |= {f"{a} with {b}": (pictures[a], pictures[b]) for a, b in pairwise(names)}
    first, second = (np.ascontiguousarray(pictures[name][:31, :47]) for name in names[:2])
    return pairs | {"31 x 47": (first, second)}
