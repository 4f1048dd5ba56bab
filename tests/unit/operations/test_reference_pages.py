"""The reference pages tell of everything that the program has, and each thing says what it is."""

from __future__ import annotations

import re

from app.api.service_metrics import QueueMetrics
from app.settings import PREFIX, Settings
from app.telemetry.metrics import METRICS
from docs.reference_pages import pages


def rows(page: str) -> list[list[str]]:
    """The cells of every row of its tables, without heads."""
    found = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert found
    return found


def test_every_setting_is_there_with_what_it_does() -> None:
    told = {cells[0].strip("`"): cells[-1] for cells in rows(pages()["reference/settings.md"]())}
    assert set(told) == {PREFIX + name.upper() for name in Settings.model_fields}
    assert all(len(text) > 20 for text in told.values())


def test_every_command_is_there() -> None:
    page = pages()["reference/commands.md"]()
    headings = re.findall(r"^## (.*)$", page, re.M)
    assert set(headings) >= {
        "chetko serve",
        "chetko worker",
        "chetko upscale",
        "chetko models",
        "chetko keys create",
        "chetko jobs retry",
        "chetko-train",
        "chetko-pack",
        "chetko-evaluate",
        "chetko-export",
    }
    assert "`--discr-weight`" in page
    assert all(len(cells[1]) > 3 for cells in rows(page)), "an option without a word"


def test_every_metric_is_there() -> None:
    told = {cells[0].strip("`"): cells[-1] for cells in rows(pages()["reference/metrics.md"]())}
    counted = {family.name + ("_total" if family.type == "counter" else "") for family in METRICS.collect()}
    looked_up = {family.name for family in QueueMetrics(lambda: None).collect()}
    assert set(told) == counted | looked_up | {"chetko_info", "chetko_ready"}
    assert all(len(text) > 10 for text in told.values())


def test_every_field_of_a_manifest_says_what_it_means() -> None:
    assert all(cells[-1].rstrip("| ") for cells in rows(pages()["reference/manifest.md"]()))
