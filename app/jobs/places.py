"""Every object in storage that belongs to a job, and nothing else spells one.

All lie below ``jobs/HOME/``, HOME being the job that made them. What a run of ``prepare`` makes, and the strips that
are cut by it, lie in a folder of that run (TOKEN is drawn by it): should ``prepare`` run twice, by a worker that was
taken for dead, the two never mix, and the job's record names the one that counts. For the same reason results carry a
token: the bytes of a finished job cannot be replaced. A strip that is computed twice is the same bytes twice.
"""

from __future__ import annotations

ROOT = "jobs"


def folder(home: str) -> str:
    """Everything of one job."""
    return f"{ROOT}/{home}"


def source(home: str, picture: int) -> str:
    """The picture as it was received."""
    return f"{folder(home)}/source/{picture}"


def run(home: str, picture: int, token: str) -> str:
    """The folder of all that one run of ``prepare`` made, and of its strips."""
    return f"{folder(home)}/run/{picture}-{token}"


def plan(home: str, picture: int, token: str) -> str:
    """JSON: the source's layout and how it is cut."""
    return f"{run(home, picture, token)}/plan"


def bands(home: str, picture: int, token: str) -> str:
    """The folder of all bands of a picture."""
    return f"{run(home, picture, token)}/band"


def band(home: str, picture: int, token: str, number: int) -> str:
    """Source rows, decoded and lightly compressed."""
    return f"{bands(home, picture, token)}/{number}"


def strips(home: str, picture: int, token: str) -> str:
    """The folder of all strips of a picture."""
    return f"{run(home, picture, token)}/strip"


def strip(home: str, picture: int, token: str, number: int) -> str:
    """Finished output rows, lightly compressed."""
    return f"{strips(home, picture, token)}/{number}"


def result(home: str, picture: int, token: str) -> str:
    """One finished picture."""
    return f"{folder(home)}/result/{picture}-{token}"


def archive(home: str, token: str) -> str:
    """The ZIP of a job of several pictures."""
    return f"{folder(home)}/archive/{token}"


def pyramid(home: str, token: str) -> str:
    """Tiles of a large result, for viewers."""
    return f"{folder(home)}/pyramid/{token}"


def source_pyramid(home: str, token: str) -> str:
    """Tiles of the source, from which a viewer's "before" is made where it is shown small."""
    return f"{folder(home)}/source-pyramid/{token}"
