"""``make bench``: what it measures, how it counts, and what it writes. Not how fast anything is."""

from __future__ import annotations

import io
import itertools
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import report, speed
from benchmarks.apart import Apart
from benchmarks.clients import parts_of
from benchmarks.machine import Machine
from benchmarks.pictures import file_of, photo
from benchmarks.plot import Bar, Point, bars, scatter
from benchmarks.service import Workers
from benchmarks.speed import Network, Results, Row, Taken, all_cases
from benchmarks.srresnet import plain_form, varied
from benchmarks.strips import measure, memory
from benchmarks.ways import Case, Sample
from tests.queue_server import queue_server
from training.networks.srresnet import SRResNet

LIBRARY = Case("library", "fast", 4, 1000, 1000, target=0.9)


def row(case: Case, *, ratio: float = 1.0, shares: dict[str, float] | None = None, seconds: float = 10.0) -> Row:
    return Row(case, 1e6, ratio, ratio, seconds, shares or {}, 100_000_000)


def results(*rows: Row) -> Results:
    machine = Machine(
        "a processor", 2, "Linux x86_64", "1.32.0", 0.1, {"float32": 1e11, "int8": 2e11, "bfloat16": None}
    )
    network = Network("fast", 4, 768, 8, {64: 5e6, 768: 8e6}, 8e6, 4e6, 18_306.0, 31.27)
    return Results("2026-11-25T10:00:00+00:00", 3, machine, [network], list(rows))


def test_the_default_model_goes_every_way_and_others_as_far_as_a_megapixel() -> None:
    cases = all_cases(["fast", "other"], default="fast", scale=4, quick=False)
    of = {model: [case for case in cases if case.model == model] for model in ("fast", "other")}
    assert {case.way for case in of["fast"]} == set(speed.WAYS)
    assert {case.way for case in of["other"]} == {"library", "command line"}
    assert {(case.width, case.height) for case in of["fast"]} >= {(256, 256), (1000, 1000), (6000, 4000)}
    assert {case.at_once for case in of["fast"] if case.way == "service"} == {1, 4, 16}
    assert {case.at_once for case in of["fast"] if case.way == "jobs"} == {1, 2}
    assert all(case.target is None for case in of["other"])
    assert len(set(cases)) == len(cases)


def test_quick_leaves_out_what_takes_minutes_and_measures_nothing_else() -> None:
    quick = all_cases(["fast"], default="fast", scale=4, quick=True)
    whole = all_cases(["fast"], default="fast", scale=4, quick=False)
    assert set(quick) < set(whole)
    assert max(case.output_pixels for case in quick) == 16_000_000


def test_what_is_asked_for_is_what_the_issue_asks_for() -> None:
    asked = {
        (case.way, case.size, case.form): case.target
        for case in all_cases(["fast"], default="fast", scale=4, quick=False)
        if case.target is not None
    }
    assert asked["library", "24 MP", ""] == 0.90
    assert asked["command line", "24 MP", "tiff"] == 0.80
    assert asked["service", "1 MP", "jpeg"] == 0.85


@pytest.mark.parametrize("size", [(64, 40), (576, 576), (1000, 700), (3000, 20)])
def test_a_photo_of_any_size_is_the_example_mirrored_and_never_resized(size: tuple[int, int]) -> None:
    width, height = size
    made = np.asarray(photo(width, height))
    assert made.shape == (height, width, 3)
    middle = np.asarray(photo(min(width, 576), min(height, 576)))
    top, left = (height - middle.shape[0]) // 2, (width - middle.shape[1]) // 2
    assert np.array_equal(made[top : top + middle.shape[0], left : left + middle.shape[1]], middle)


def test_files_are_of_the_kind_that_was_asked_for() -> None:
    assert file_of(photo(8, 8), "jpeg")[:2] == b"\xff\xd8"
    assert file_of(photo(8, 8), "png")[:4] == b"\x89PNG"


def test_server_timing_is_read_in_seconds() -> None:
    assert parts_of("queue;dur=0.5, decode;dur=12.0, inference;dur=1500.0") == {
        "queue": 0.0005, "decode": 0.012, "inference": 1.5,
    }  # fmt: skip


def test_a_ratio_is_to_the_bare_pieces_around_it_and_medians_are_told() -> None:
    def taken(seconds: float, before: float, after: float) -> Taken:
        pieces = tuple(Sample(1.0, int(rate), processor_seconds=2.0) for rate in (before, after))
        return Taken(
            Sample(seconds, 1000, {"inference": seconds / 2}, 7, processor_seconds=4.0), (pieces[0], pieces[1])
        )

    found = speed._row(LIBRARY, [taken(1.0, 1000, 3000), taken(2.0, 1000, 1000), taken(4.0, 1000, 1000)])
    assert (found.rate, found.seconds, found.ratio, found.peak_bytes) == (500, 2.0, 0.5, 7)
    assert found.frugality == pytest.approx(0.5)
    assert found.shares == {"inference": 0.5, "else": 0.5}
    assert found.holds is False
    assert row(Case("jobs", "fast", 4, 10, 10)).holds is None


def test_losses_are_told_once_each_the_largest_first_and_not_of_small_pictures() -> None:
    command = Case("command line", "fast", 4, 6000, 4000, "tiff")
    found = report.losses(
        results(
            row(Case("library", "fast", 4, 256, 256), ratio=0.1),
            row(LIBRARY, ratio=0.97),
            row(command, ratio=0.79, shares={"decode": 0.01, "inference": 0.79, "encode": 0.15, "else": 0.05}),
            row(Case("service", "fast", 4, 1000, 1000, "jpeg", 16), ratio=0.9),
        )
    )
    shares = [loss.share for loss in found]
    assert shares == sorted(shares, reverse=True)
    assert found[0].share == pytest.approx(0.15)
    assert "writing the file" in found[0].cause
    assert "TIFF" in found[0].sentence()
    assert len({loss.cause for loss in found}) == len(found)
    assert not any(loss.row.case.width == 256 for loss in found)
    assert "1.50 s of 10.00 s" in found[0].sentence()


def test_the_table_holds_every_row_and_says_what_is_below_its_target(tmp_path: Path) -> None:
    some = results(row(LIBRARY, ratio=0.85), row(Case("service", "fast", 4, 256, 256, "jpeg", 4)))
    document = tmp_path / "performance.md"
    document.write_text(f"before\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    report.write_docs(some, note="a training ran beside", document=document, images=tmp_path)
    written = document.read_text()
    assert written.startswith("before\n")
    assert written.endswith("\n\nafter\n")
    assert "old" not in written
    assert "| fast x4 | 1 MP | library | 1.00 | 18% | 0.85 (BELOW 0.90) |" in written
    assert "service, 4 clients, JPEG" in written
    assert "**a training ran beside**" in written
    for name in ("performance.svg", "frontier.svg"):
        ET.parse(tmp_path / name)  # noqa: S314 - our own
    report.write_docs(some, note="", document=document, images=tmp_path)
    assert document.read_text().count(report.BEGIN) == 1


def test_a_document_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("nothing\n")
    with pytest.raises(ValueError, match="lacks the marks"):
        report.write_docs(results(row(LIBRARY)), note="", document=document, images=tmp_path)
    assert document.read_text() == "nothing\n"


def test_the_documentation_has_the_marks() -> None:
    whole = report.DOCUMENT.read_text("utf-8")
    assert whole.count(report.BEGIN) == whole.count(report.END) == 1


def test_plots_are_well_formed_whatever_the_names() -> None:
    ET.fromstring(bars("a < b & c", [Bar("<x>", 0.5, 0.9), Bar("y", 1.2)]))  # noqa: S314
    ET.fromstring(bars("none", []))  # noqa: S314
    drawn = scatter("t", "x", "y", [Point("a&b", 0.2, 31.0, ours=True), Point("c", 13.0, 32.4, ours=False)])
    root = ET.fromstring(drawn)  # noqa: S314
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2
    assert all(0 < float(circle.attrib["cx"]) < 720 and 0 < float(circle.attrib["cy"]) < 420 for circle in circles)


class Counter:
    """What the test below has live elsewhere."""

    def __init__(self, first: int) -> None:
        self._numbers = itertools.count(first)

    def next(self) -> int:
        return next(self._numbers)

    def fail(self) -> None:
        raise KeyError("as it was raised")


def test_an_object_apart_keeps_its_state_and_passes_on_what_it_raises() -> None:
    with Apart(Counter, 5) as counter:
        assert [counter("next"), counter("next")] == [5, 6]
        with pytest.raises(KeyError, match="as it was raised"):
            counter("fail")
        assert counter("next") == 7
    with pytest.raises(TypeError):
        Apart(Counter)


def test_what_tasks_took_is_read_from_the_workers_logs() -> None:
    lines = (
        "2026-11-25 10:00:00,000 INFO    job_a.1.prepare.0.0 done after 0.50 s [job_a]\n"
        "2026-11-25 10:00:01,000 INFO    job_a.1.strip.0.0 done after 1.25 s [job_a]\n"
        "2026-11-25 10:00:02,000 INFO    job_b.1.strip.0.0 done after 9.00 s [job_b]\n"
        "2026-11-25 10:00:02,000 INFO    job_a.1.strip.0.1 not wanted any more after 3.00 s [job_a]\n"
    )
    other = io.StringIO("2026-11-25 10:00:01,500 INFO    job_a.1.strip.0.1 done after 1.25 s [job_a]\n")
    workers = Workers([], [io.StringIO(lines), other])
    assert workers.seconds("job_a") == {"prepare": 0.5, "strip": 2.5}


def test_jobs_without_computing_go_through_a_real_queue() -> None:
    with queue_server() as server:
        rate = measure(server.url, jobs=2, strips=6, processes=1, workers=3)
        strip, job = memory(server.url, strips=50)
    assert (rate.workers, rate.strips) == (3, 12)
    assert rate.seconds > 0
    assert rate.commands > 5
    assert rate.server_ms > 0
    assert 100 < strip < 10_000
    assert 0 < job < 100_000


def test_the_plain_form_of_srresnet_is_the_same_function() -> None:
    torch.manual_seed(0)
    network = varied(SRResNet(4, 8, blocks=1))
    image: Any = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(plain_form(network)(image), network(image))
