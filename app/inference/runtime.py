"""Exactly one onnxruntime must be installed: its builds overwrite each other's files."""

from __future__ import annotations

from importlib import metadata

from app.inference.errors import RuntimeProblemError

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


def check_runtime() -> str:
    """The name of the one installed onnxruntime distribution.

    Raises RuntimeProblemError, in one sentence, when none or several are installed: with two of them the
    files of whichever was installed last win, and the other's providers silently vanish.
    """
    installed = [name for name in DISTRIBUTIONS if _is_installed(name)]
    if not installed:
        raise RuntimeProblemError(
            "No onnxruntime is installed: install exactly one of the extras, e.g. pip install 'chetko[cpu]'."
        )
    if len(installed) > 1:
        raise RuntimeProblemError(
            f"{' and '.join(installed)} are installed together and overwrite each other's files: uninstall them all, "
            "then install exactly one of the extras cpu, gpu and openvino."
        )
    return installed[0]


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
