"""Every object in storage that belongs to a job, and nothing else spells one.

All lie below ``jobs/HOME/``, HOME being the job that made them. Names are deterministic: a task that runs twice
writes the same bytes under the same name.
"""

from __future__ import annotations

ROOT = "jobs"


def folder(home: str) -> str:
    """Everything of one job."""
    return f"{ROOT}/{home}"


def source(home: str, picture: int) -> str:
    """The picture as it was received."""
    return f"{folder(home)}/source/{picture}"


def plan(home: str, picture: int) -> str:
    """JSON: the source's layout and how it is cut, written by ``prepare``."""
    return f"{folder(home)}/plan/{picture}"


def bands(home: str, picture: int) -> str:
    """The folder of all bands of a picture."""
    return f"{folder(home)}/band/{picture}"


def band(home: str, picture: int, number: int) -> str:
    """Source rows, decoded and lightly compressed."""
    return f"{bands(home, picture)}/{number}"


def strips(home: str, picture: int) -> str:
    """The folder of all strips of a picture."""
    return f"{folder(home)}/strip/{picture}"


def strip(home: str, picture: int, number: int) -> str:
    """Finished output rows, lightly compressed."""
    return f"{strips(home, picture)}/{number}"


def picture(home: str, number: int) -> str:
    """One finished picture of a batch."""
    return f"{folder(home)}/picture/{number}"


def result(home: str) -> str:
    """What the job was made for."""
    return f"{folder(home)}/result"


def pyramid(home: str) -> str:
    """Tiles of a large result, for viewers."""
    return f"{folder(home)}/pyramid"
