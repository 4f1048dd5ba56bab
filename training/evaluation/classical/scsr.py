"""ScSR: J. Yang, J. Wright, T. Huang, Y. Ma, "Image super-resolution via sparse representation", IEEE TIP 2010.

A patch of the small picture is a sparse sum of atoms of one dictionary; the same sum of a second dictionary's atoms,
learned together with the first (section III), is the sharp patch. Small patches are seen through first and second
derivatives of the bicubic enlargement; the whole picture is then projected onto those that shrink to the given one.

Unlike the paper: a sharp patch is what bicubic lacks instead of the patch without its mean, derivatives are reduced to
their principal components, sparse sums are found by FISTA for all patches at once, and the sharp dictionary is fitted
anew, by least squares, to the sparse sums that the small one really gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.evaluation.classical.luma import Patches, Plane, back_project, on_luma, resize
from training.evaluation.restore import Restorer

EDGE = {2: 6, 4: 9}
"""Scale -> pixels of a patch's edge."""
STRIDE = 2
ATOMS = 512
COMPONENTS = 40
SPARSITY = 0.12
"""Weight of the sum of a code's absolute values, for patches of length 1."""
QUIET = 6.0
"""Length of a patch's derivatives under which it is left as it is."""
SAMPLES = 40_000

Learned = dict[str, npt.NDArray[np.float32]]


def file(scale: int) -> Path:
    """What was learned for ``scale``."""
    return Path(__file__).with_name(f"scsr_x{scale}.npz")


def scsr(scale: int) -> Restorer:
    """The method, with the dictionaries that ``learned`` keeps."""
    with np.load(file(scale)) as stored:
        learned = {name: stored[name].astype(np.float32) for name in stored.files}
    return on_luma(partial(_enlarge, learned=learned), scale)


def learn(pairs: Sequence[tuple[Plane, Plane]], scale: int) -> Learned:
    """From (enlarged, sharp) planes: principal axes of derivatives, and the two dictionaries."""
    from sklearn.decomposition import MiniBatchDictionaryLearning  # noqa: PLC0415  (only learning needs scikit-learn)

    random = np.random.default_rng(0)
    seen, lacking = (np.concatenate(parts) for parts in zip(*(_samples(*pair, scale, random) for pair in pairs),
                     strict=True))  # fmt: skip
    chosen = random.permutation(len(seen))[:SAMPLES]
    seen, lacking = seen[chosen], lacking[chosen]
    _, _, axes = np.linalg.svd(seen[::2], full_matrices=False)
    axes = np.ascontiguousarray(axes[:COMPONENTS].T)
    length = np.maximum(np.sqrt((seen**2).sum(axis=1)), 1e-6)[:, None]
    small, sharp = seen @ axes / length, lacking / length
    # Both patches side by side, each divided by the root of its number of values: then both have the same say.
    joint = np.concatenate((small / np.sqrt(small.shape[1]), sharp / np.sqrt(sharp.shape[1])), axis=1)
    joint /= np.sqrt((joint**2).sum(axis=1)).mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coordinate descent stops early within a batch; the next goes on
        made = MiniBatchDictionaryLearning(
            ATOMS, alpha=SPARSITY, max_iter=4, batch_size=512, fit_algorithm="cd", n_jobs=1, random_state=0
        ).fit(joint)
    atoms = made.components_[:, : small.shape[1]].astype(np.float32)
    atoms /= np.maximum(np.sqrt((atoms**2).sum(axis=1)), 1e-6)[:, None]
    codes = sparse_codes(small, atoms)
    # Minimises the error in levels, so a sample weighs as its contrast.
    weight = length.clip(max=200.0)
    weighted = codes * weight
    normal = weighted.T @ weighted
    normal += 1e-3 * np.trace(normal) / len(atoms) * np.eye(len(atoms), dtype=np.float32)
    sharp_atoms = np.linalg.solve(normal, weighted.T @ (sharp * weight)).astype(np.float32)
    return {"axes": axes, "atoms": atoms, "sharp_atoms": sharp_atoms}


def _samples(rough: Plane, sharp: Plane, scale: int, random: np.random.Generator) -> tuple[Plane, Plane]:
    places = Patches(rough.shape, EDGE[scale], 4)
    seen = _derivatives(rough, places)
    loud = np.flatnonzero((seen**2).sum(axis=1) > QUIET**2)
    loud = random.permutation(loud)[:1500]
    return seen[loud], places.of(sharp - rough)[loud]


def _derivatives(plane: Plane, places: Patches) -> Plane:
    """First and second derivatives across and down, side by side: (number of patches, 4 * EDGE * EDGE)."""
    first, second = np.array([-1, 0, 1], np.float32), np.array([1, 0, -2, 0, 1], np.float32) / 2
    made = [ndimage.correlate1d(plane, taps, axis=axis, mode="nearest") for taps in (first, second) for axis in (0, 1)]
    return np.concatenate([places.of(each) for each in made], axis=1)


def sparse_codes(patches: Plane, atoms: Plane, rounds: int = 40) -> Plane:
    """The (n, k) codes that minimise half the squared error plus ``SPARSITY`` times their absolute sum, for ``patches``
    (n, d) over ``atoms`` (k, d) of length 1: A. Beck and M. Teboulle's FISTA, SIAM J. Imaging Sciences 2009."""
    gram, start = atoms @ atoms.T, patches @ atoms.T
    speed = 1 / np.float32(np.linalg.eigvalsh(gram)[-1])
    codes = ahead = np.zeros_like(start)
    inertia = 1.0
    for _ in range(rounds):
        moved = ahead - speed * (ahead @ gram - start)
        fresh = np.sign(moved) * np.maximum(np.abs(moved) - speed * SPARSITY, 0)
        grown = (1 + (1 + 4 * inertia**2) ** 0.5) / 2
        ahead = fresh + np.float32((inertia - 1) / grown) * (fresh - codes)
        codes, inertia = fresh, grown
    return codes


def _enlarge(small: Plane, scale: int, *, learned: Learned) -> Plane:
    shape = (small.shape[0] * scale, small.shape[1] * scale)
    rough = resize(small, shape)
    places = Patches(shape, EDGE[scale], STRIDE)
    seen = _derivatives(rough, places)
    length = np.sqrt((seen**2).sum(axis=1))
    lacking = np.zeros((len(places), EDGE[scale] ** 2), np.float32)
    loud = np.flatnonzero(length > QUIET)
    for part in np.array_split(loud, max(1, len(loud) // 10_000)):
        codes = sparse_codes(seen[part] @ learned["axes"] / length[part, None], learned["atoms"])
        lacking[part] = codes @ learned["sharp_atoms"] * length[part, None]
    return back_project(rough + places.mean(lacking), small)
