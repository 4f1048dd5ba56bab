"""Kim & Kwon 2010: sparse kernel ridge regression of what bicubic enlargement lacks, then the prior of natural images.

K. I. Kim and Y. Kwon, "Single-image super-resolution using sparse regression and natural image prior", IEEE TPAMI 2010.
From a patch of the enlarged picture, band-passed and brought to one contrast (section 2.1), a kernel machine with few
basis points predicts a smaller patch of the difference from the sharp one (eq. 3-6); the candidates of overlapping
patches are combined by how far each may be trusted (section 2.3); along strong edges the prior |gradient|^0.8 removes
what rings (eq. 11-12).

Simpler than the paper: basis points are the centres of k-means instead of being moved by gradient descent, a
candidate's trust depends on its place in the patch alone, and the prior is minimised by gradient descent instead of
belief propagation over candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy import ndimage

from training.evaluation.classical.luma import Learned, Patches, Plane, back_project, kept, on_luma, resize
from training.evaluation.restore import Restorer

REACH = {2: 9, 4: 15}
"""Scale -> pixels of the edge of the patch that is looked at."""
OUT = {2: 5, 4: 7}
"""Scale -> that of the patch that is predicted, its middle."""
COMPONENTS = 48
BASIS = 1200
SAMPLES = 150_000
RIDGE = 1e-3
QUIET = 12.0
"""Length of a band-passed patch under which nothing is predicted, in levels."""
LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)


def kim(scale: int) -> Restorer:
    """The method, with what ``learned`` keeps."""
    return on_luma(partial(_enlarge, learned=kept("kim", scale)), scale)


def learn(pairs: Sequence[tuple[Plane, Plane]], scale: int) -> Learned:
    """From (enlarged, sharp) planes: principal axes, basis points, kernel width, coefficients, trust of each place."""
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415  (only learning needs scikit-learn)

    random = np.random.default_rng(0)
    seen, lacking, contrast = (np.concatenate(parts) for parts in zip(*(_samples(*pair, scale, random)
                               for pair in pairs), strict=True))  # fmt: skip
    chosen = random.permutation(len(seen))[:SAMPLES]
    seen, lacking, contrast = seen[chosen], lacking[chosen], contrast[chosen]
    _, _, axes = np.linalg.svd(seen[::5], full_matrices=False)
    axes = np.ascontiguousarray(axes[:COMPONENTS].T)
    points = seen @ axes
    means = MiniBatchKMeans(BASIS, batch_size=8192, n_init=1, max_iter=30, random_state=0).fit(points)
    basis = means.cluster_centers_.astype(np.float32)
    width = np.float32(_squared(basis, basis).mean())
    # Minimises the error in levels, so a sample weighs as the square of its contrast: eq. 4, on the reduced basis.
    normal, right = np.zeros((BASIS, BASIS)), np.zeros((BASIS, lacking.shape[1]))
    weight = np.minimum(contrast, 200.0)[:, None]
    for part in np.array_split(np.arange(len(points)), 30):
        kernel = _kernel(points[part], basis, width) * weight[part]
        normal += kernel.T @ kernel
        right += kernel.T @ (lacking[part] * weight[part])
    size = np.trace(normal) / BASIS
    normal += size * (RIDGE * _kernel(basis, basis, width) + 1e-6 * np.eye(BASIS))
    coefficients = np.linalg.solve(normal, right).astype(np.float32)
    off = (_kernel(points[:20_000], basis, width) @ coefficients - lacking[:20_000]) * weight[:20_000]
    return {
        "axes": axes, "basis": basis, "width": width, "coefficients": coefficients,
        "trust": 1 / np.maximum((off**2).mean(axis=0), 1e-6),
    }  # fmt: skip


def _samples(rough: Plane, sharp: Plane, scale: int, random: np.random.Generator) -> tuple[Plane, Plane, Plane]:
    places = Patches(rough.shape, REACH[scale], 3)
    seen, contrast = _features(places.of(_band(rough)))
    loud = np.flatnonzero(contrast > QUIET)
    loud = random.permutation(loud)[:4000]
    lacking = _middle(places.of(sharp - rough)[loud], scale) / contrast[loud, None]
    return seen[loud], lacking, contrast[loud]


def _band(plane: Plane) -> Plane:
    return ndimage.convolve(plane, LAPLACIAN, mode="nearest")


def _features(patches: Plane) -> tuple[Plane, Plane]:
    """(patches of length 1, their lengths)."""
    length = np.sqrt((patches**2).sum(axis=1))
    return patches / np.maximum(length, 1e-6)[:, None], length


def _middle(patches: Plane, scale: int) -> Plane:
    edge, inner = REACH[scale], OUT[scale]
    start = (edge - inner) // 2
    square = patches.reshape(-1, edge, edge)[:, start : start + inner, start : start + inner]
    return square.reshape(len(patches), -1)


def _squared(first: Plane, second: Plane) -> Plane:
    return (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T


def _kernel(points: Plane, basis: Plane, width: np.float32) -> Plane:
    """The Gaussian of eq. 3."""
    return np.exp(-_squared(points, basis) / width)


def _enlarge(small: Plane, scale: int, *, learned: Learned) -> Plane:
    shape = (small.shape[0] * scale, small.shape[1] * scale)
    rough = resize(small, shape)
    margin = (REACH[scale] - OUT[scale]) // 2
    padded = np.pad(_band(rough), margin, mode="reflect")
    looked, put = Patches(padded.shape, REACH[scale], 1), Patches(shape, OUT[scale], 1)
    seen, contrast = _features(looked.of(padded))
    loud = np.flatnonzero(contrast > QUIET)
    lacking = np.zeros((len(put), OUT[scale] ** 2), np.float32)
    for part in np.array_split(loud, max(1, len(loud) // 20_000)):
        kernel = _kernel(seen[part] @ learned["axes"], learned["basis"], learned["width"])
        lacking[part] = kernel @ learned["coefficients"] * contrast[part, None]
    regressed = rough + put.mean(lacking, learned["trust"][None])
    return back_project(_natural(regressed, rough), small, rounds=4)


def _natural(plane: Plane, rough: Plane, *, rounds: int = 10, strength: float = 0.4, power: float = 0.8) -> Plane:
    """``plane`` pulled towards eq. 11's prior where ``rough`` has strong edges near (eq. 12): ringing there is removed,
    texture elsewhere stays."""
    band = np.abs(_band(rough))
    near = ndimage.maximum_filter(band, 9) > 40.0
    calm = near & (band < 20.0)
    fixed = plane
    for _ in range(rounds):
        slope = np.zeros_like(plane)
        for axis in (0, 1):
            step = np.diff(plane, axis=axis)
            force = power * np.sign(step) * np.maximum(np.abs(step), 1.0) ** (power - 1)
            ahead, behind = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
            ahead[axis], behind[axis] = (0, 1), (1, 0)
            slope += np.pad(force, ahead) - np.pad(force, behind)
        moved = plane + 0.5 * (strength * slope + 0.5 * (fixed - plane))
        plane = np.where(calm, moved, plane)
    return plane
