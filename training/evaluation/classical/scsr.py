"""Yang et al. 2010: one sparse code for a patch's gradients and for the sharp patch.

J. Yang, J. Wright, T. S. Huang and Y. Ma, "Image super-resolution via sparse representation", IEEE TIP 2010. Two
dictionaries are learned together (eq. 22-24): what of the one describes the gradients of a small patch (section III-B,
3x3 pixels, looked at in twice their size) describes with the same coefficients of the other the sharp patch without its
mean (algorithm 1). The patches' mean where they overlap is then brought to shrink to the given picture (eq. 13).

As in the authors' program, not in the paper's text, a sharp patch has 1.2 times the contrast of the bicubic one.
Simpler than the paper: half as many atoms, and both dictionaries are learned by scikit-learn's online algorithm.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy import ndimage

from training.evaluation.classical.luma import Learned, Patches, Plane, back_project, kept, on_luma, resize
from training.evaluation.restore import Restorer

EDGE = 3
"""Pixels of a small patch's edge."""
ATOMS = 512
SPARSITY = 0.15
"""Lambda of eq. 8, for gradients of length 1."""
CONTRAST = 1.2
SAMPLES = 60_000
LEARNED_ROUNDS = 4
CODED_ROUNDS = 60
QUIET = 1.5
"""Standard deviation of a bicubic patch under which it stays as it is, in levels."""
FILTERS = (np.array([-1, 0, 1], np.float32), np.array([1, 0, -2, 0, 1], np.float32))
"""First and second derivative, along rows and along columns (section III-B)."""


def scsr(scale: int) -> Restorer:
    """The method, with what ``learned`` keeps."""
    return on_luma(partial(_enlarge, learned=kept("scsr", scale)), scale)


def learn(pairs: Sequence[tuple[Plane, Plane]], scale: int) -> Learned:
    """From (small, sharp) planes: the dictionary of gradients, (atoms, 4 * 6 * 6), of atoms of length 1, and that of
    sharp patches, (atoms, (3 * scale)^2)."""
    # Only learning needs scikit-learn.
    from sklearn.decomposition import MiniBatchDictionaryLearning  # noqa: PLC0415
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    random = np.random.default_rng(0)
    gradients, sharp = (
        np.concatenate(parts) for parts in zip(*(_samples(*pair, scale, random) for pair in pairs), strict=True)
    )
    chosen = random.permutation(len(sharp))[:SAMPLES]
    # Eq. 22: each dictionary's error counts by the number of its values, which here all have length 1.
    joint = np.concatenate([gradients[chosen], sharp[chosen]], axis=1) / np.sqrt(2, dtype=np.float32)
    model = MiniBatchDictionaryLearning(
        ATOMS, alpha=SPARSITY, batch_size=1024, max_iter=LEARNED_ROUNDS, fit_algorithm="cd", random_state=0
    )
    with warnings.catch_warnings():
        # A code that is not exact moves the dictionary a little less well: no need to tell of each patch.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(joint)
    seen, meant = np.split(model.components_.astype(np.float32), [gradients.shape[1]], axis=1)
    length = np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-3)
    return {"seen": seen / length, "meant": meant / length}


def _samples(small: Plane, sharp: Plane, scale: int, random: np.random.Generator) -> tuple[Plane, Plane]:
    gradients, length = _gradients(small, stride=2)
    fine = Patches(sharp.shape, EDGE * scale, 2 * scale).of(sharp)
    fine = fine - fine.mean(axis=1, keepdims=True)
    contrast = np.linalg.norm(fine, axis=1)
    loud = random.permutation(np.flatnonzero((contrast > 2 * QUIET * EDGE * scale) & (length > 0)))[:2000]
    return gradients[loud], fine[loud] / contrast[loud, None]


def _gradients(small: Plane, stride: int) -> tuple[Plane, Plane]:
    """(gradients of each patch brought to length 1, their lengths)."""
    twice = resize(small, (2 * small.shape[0], 2 * small.shape[1]))
    places = Patches(twice.shape, 2 * EDGE, 2 * stride)
    found = np.concatenate(
        [places.of(ndimage.correlate1d(twice, taps, axis)) for taps in FILTERS for axis in (1, 0)], axis=1
    )
    length = np.linalg.norm(found, axis=1)
    return found / np.maximum(length, 1e-6)[:, None], length


def _codes(gradients: Plane, seen: Plane) -> Plane:
    """The sparse codes of eq. 8, (patches, atoms).

    By FISTA (A. Beck and M. Teboulle, 2009, eq. 4.1-4.3) for all patches together: scikit-learn's coordinate descent
    goes patch by patch and takes an hour for a picture of BSD100.
    """
    gram, wanted = seen @ seen.T, gradients @ seen.T
    step = 1 / np.float32(np.linalg.eigvalsh(gram)[-1])
    quiet = step * np.float32(SPARSITY)
    codes = ahead = np.zeros_like(wanted)
    pace = 1.0
    for _ in range(CODED_ROUNDS):
        moved = ahead + step * (wanted - ahead @ gram)
        moved -= np.clip(moved, -quiet, quiet)
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = moved + np.float32((pace - 1) / faster) * (moved - codes)
        codes, pace = moved, faster
    return codes


def _enlarge(small: Plane, scale: int, *, learned: Learned) -> Plane:
    rough = resize(small, (small.shape[0] * scale, small.shape[1] * scale))
    gradients, _ = _gradients(small, stride=1)
    places = Patches(rough.shape, EDGE * scale, scale)
    patches = places.of(rough)
    mean = patches.mean(axis=1, keepdims=True)
    contrast = np.linalg.norm(patches - mean, axis=1)
    loud = np.flatnonzero(contrast > QUIET * EDGE * scale)
    # As many at once as have their codes in a processor's cache.
    for part in np.array_split(loud, max(1, len(loud) // 500)):
        meant = _codes(gradients[part], learned["seen"]) @ learned["meant"]
        length = np.linalg.norm(meant, axis=1)
        found = part[length > 0]
        meant = meant[length > 0] * (CONTRAST * contrast[found] / length[length > 0])[:, None]
        patches[found] = mean[found] + meant
    return back_project(places.mean(patches), small, rounds=20)
