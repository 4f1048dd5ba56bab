"""Glasner 2009 and Huang 2015: a picture holds its own examples, smaller or turned.

D. Glasner, S. Bagon, M. Irani, "Super-resolution from a single image", ICCV 2009: a small patch tends to recur in a
coarser version of the same picture; there its sharp parent is known. Section 3.3: the picture grows in small steps, and
after each must shrink to the given one again. Their section 3.2 (recurrence within a scale as multi-frame
super-resolution) is not built: this is the cross-scale part.

J.-B. Huang, A. Singh, N. Ahuja, "Single image super-resolution from transformed self-exemplars", CVPR 2015: patches may
also recur transformed. Here the picture is searched mirrored, turned by quarters and by 15 and 30 degrees, and in two
sizes, with the gain of each match fitted (their eq. 4 has a bias); perspective from detected planes (their section 3.2)
is not built, and a k-d tree stands for their PatchMatch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from training.evaluation.classical.luma import Patches, Plane, back_project, on_luma, resize
from training.evaluation.restore import Restorer

SIZE = 5
STRIDE = 2
"""Pixels between the patches that are sharpened; those that are found are a pixel apart."""
STEP = 1.25
"""The growth of one step, about: the steps of a scale are equal, and their product is the scale."""
SMOOTH = 2.0
"""Levels: a patch that deviates less from its mean has nothing to sharpen, and is neither searched nor found."""
KEPT = 12
"""Principal components of a patch that are searched."""
MOST = 60_000
"""Patches that are searched, drawn at random from larger numbers."""


@dataclass(frozen=True)
class Search:
    """How examples are looked for."""

    neighbours: int
    turned: bool
    """Whether also among transformed patches, with a gain fitted."""
    sharpness: float
    """Deviation in levels (root mean square) at which a neighbour's weight has fallen to 1/e."""


GLASNER = Search(neighbours=5, turned=False, sharpness=4.0)
SELFEX = Search(neighbours=8, turned=True, sharpness=3.0)


def glasner(scale: int) -> Restorer:
    """Glasner's cross-scale examples."""
    return on_luma(lambda plane, factor: grow(plane, factor, GLASNER), scale)


def selfex(scale: int) -> Restorer:
    """Transformed self-exemplars."""
    return on_luma(lambda plane, factor: grow(plane, factor, SELFEX), scale)


def grow(small: Plane, scale: int, search: Search) -> Plane:
    """(H, W) -> (scale*H, scale*W), step by step."""
    steps = max(1, round(math.log(scale) / math.log(STEP)))
    plane = small
    for step in range(1, steps + 1):
        factor = scale ** (step / steps)
        shape = tuple(round(side * factor) for side in small.shape)
        plane = back_project(_sharpened(resize(plane, shape), plane, search), small)
    return plane


def _sharpened(rough: Plane, source: Plane, search: Search) -> Plane:
    """``rough``, the enlarged ``source``, with the detail that examples from ``source`` have and it lacks."""
    ratio = rough.shape[0] / source.shape[0]
    keys, details = _examples(source, ratio, turned=search.turned)
    if len(keys) < search.neighbours:
        return rough
    places = Patches(rough.shape, SIZE, STRIDE)
    wanted = places.of(rough)
    wanted = wanted - wanted.mean(axis=1, keepdims=True)
    busy = np.flatnonzero(wanted.std(axis=1) > SMOOTH)
    if not len(busy):
        return rough
    _, _, axes = np.linalg.svd(keys[:: max(1, len(keys) // 20_000)], full_matrices=False)
    axes = axes[:KEPT].T
    _, found = cKDTree(keys @ axes).query(wanted[busy] @ axes, k=search.neighbours, eps=1.0)
    added = np.zeros_like(wanted)
    weights = np.ones(len(wanted), np.float32)
    for part in np.array_split(np.arange(len(busy)), max(1, len(busy) // 20_000)):
        key, target = keys[found[part]], wanted[busy[part]][:, None]
        gain = np.ones(key.shape[:2], np.float32)
        if search.turned:
            gain = np.clip((key * target).sum(-1) / np.maximum((key * key).sum(-1), 1e-6), 0.5, 2.0)
        off = np.sqrt(((gain[..., None] * key - target) ** 2).mean(-1))
        trust = np.exp(-((off / search.sharpness) ** 2)) + 1e-8
        share = trust / trust.sum(axis=1, keepdims=True)
        added[busy[part]] = ((share * gain)[..., None] * details[found[part]]).sum(axis=1)
        weights[busy[part]] = trust.max(axis=1) + 1e-3
    return rough + places.mean(added, weights[:, None])


def _examples(source: Plane, ratio: float, *, turned: bool) -> tuple[Plane, Plane]:
    """(blurred patches without their mean, what the sharp ones have beyond the blurred)."""
    random = np.random.default_rng(0)
    keys, details = [], []
    for sharp in _transformed(source) if turned else [source]:
        coarse = tuple(max(SIZE, round(side / ratio)) for side in sharp.shape)
        blurred = resize(resize(sharp, coarse), sharp.shape)
        places = Patches(sharp.shape, SIZE, 1)
        key = places.of(blurred)
        key = key - key.mean(axis=1, keepdims=True)
        busy = np.flatnonzero(key.std(axis=1) > SMOOTH)
        keys.append(key[busy])
        details.append(places.of(sharp - blurred)[busy])
    key, detail = np.concatenate(keys), np.concatenate(details)
    if len(key) > MOST:
        chosen = random.choice(len(key), MOST, replace=False)
        key, detail = key[chosen], detail[chosen]
    return key, detail


def _transformed(plane: Plane) -> Iterator[Plane]:
    """``plane`` mirrored and turned by quarters, turned a little, and smaller."""
    for quarters in range(4):
        yield np.rot90(plane, quarters)
        yield np.rot90(plane[:, ::-1], quarters)
    for degrees in (15, 30):
        whole = ndimage.rotate(plane, degrees, reshape=False, order=3, mode="reflect")
        yield whole.astype(np.float32)
    smaller = tuple(max(4 * SIZE, round(side / STEP)) for side in plane.shape)
    yield resize(plane, smaller)
