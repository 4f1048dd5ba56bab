"""A minute of the campaign that ``make fuzz`` runs at full length."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.imaging.header import read_header
from tests.fuzz.campaign import campaign
from tests.fuzz.mutations import SEEDS, damaged, seeds


def test_seeds_are_of_all_formats_and_whole() -> None:
    formats = set()
    for path in sorted(SEEDS.iterdir()):
        with path.open("rb") as file:
            formats.add(read_header(file).format)
    assert formats == {"png", "jpeg", "webp", "avif", "tiff", "bmp", "gif", "heic"}


def test_the_same_number_is_the_same_damage() -> None:
    pictures = seeds()
    made = [damaged(number, pictures) for number in range(200)]
    assert made == [damaged(number, pictures) for number in range(200)]
    assert len({data for _, data in made}) > 190
    assert sum(data in pictures.values() for _, data in made) < 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_minute_of_damaged_pictures(tmp_path: Path) -> None:
    # Other pictures every day; the numbers that failed are told.
    outcome = campaign(seconds=60, first=int(time.time()) // 86_400 * 1_000_000, keep=tmp_path)
    assert not outcome.faults, outcome
    assert outcome.sent > 100
    assert outcome.answers["200"] > 0, outcome.answers
    assert sum(times for told, times in outcome.answers.items() if told != "200") > 0
