"""Damages pictures: flips bytes, cuts, swaps headers, changes lengths. The same number makes the same damage again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
_TELLING = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


def seeds() -> dict[str, bytes]:
    """The undamaged pictures, by their names."""
    return {path.name: path.read_bytes() for path in sorted(SEEDS.iterdir())}


def damaged(number: int, pictures: dict[str, bytes]) -> tuple[str, bytes]:
    """Picture ``number``: what was done to what, and the bytes."""
    chance = random.Random(number)
    name = chance.choice(list(pictures))
    data = bytearray(pictures[name])
    done = []
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        kind = chance.choice(list(_KINDS))
        data = _KINDS[kind](data, chance, pictures)
        done.append(kind)
    return f"{number} {name}: {', '.join(done)}", bytes(data)


def _flip(data: bytearray, chance: random.Random, _: dict[str, bytes]) -> bytearray:
    for _ in range(chance.choice((1, 2, 8, 32))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def _set_in_head(data: bytearray, chance: random.Random, _: dict[str, bytes]) -> bytearray:
    for _ in range(chance.choice((1, 2, 4))):
        if data:
            data[chance.randrange(min(len(data), 128))] = chance.choice(_TELLING)
    return data


def _cut(data: bytearray, chance: random.Random, _: dict[str, bytes]) -> bytearray:
    return data[: chance.randrange(len(data) + 1)]


def _swap_heads(data: bytearray, chance: random.Random, pictures: dict[str, bytes]) -> bytearray:
    other = pictures[chance.choice(list(pictures))]
    length = chance.choice((4, 8, 12, 16, 32, 64))
    return bytearray(other[:length]) + data[length:]


def _take_out(data: bytearray, chance: random.Random, _: dict[str, bytes]) -> bytearray:
    start = chance.randrange(len(data) + 1)
    return data[:start] + data[start + chance.choice((1, 2, 4, 16, 100)) :]


def _put_in(data: bytearray, chance: random.Random, _: dict[str, bytes]) -> bytearray:
    start = chance.randrange(len(data) + 1)
    return data[:start] + bytearray(chance.randbytes(chance.choice((1, 2, 4, 16, 100)))) + data[start:]


def _repeat(data: bytearray, chance: random.Random, _: dict[str, bytes]) -> bytearray:
    start = chance.randrange(len(data) + 1)
    return data[:start] + data[start : start + 64] * chance.choice((2, 8, 64)) + data[start:]


def _change_number(data: bytearray, chance: random.Random, _: dict[str, bytes]) -> bytearray:
    """Sizes and lengths are numbers of two or four bytes, in either order."""
    width = chance.choice((2, 4))
    if len(data) >= width:
        start = chance.randrange(len(data) - width + 1)
        value = chance.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, chance.randrange(2**20)))
        order = "big" if chance.random() < 0.5 else "little"
        data[start : start + width] = (value % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
    return data


_KINDS: dict[str, Callable[[bytearray, random.Random, dict[str, bytes]], bytearray]] = {
    "flip": _flip,
    "set in head": _set_in_head,
    "cut": _cut,
    "swap heads": _swap_heads,
    "take out": _take_out,
    "put in": _put_in,
    "repeat": _repeat,
    "change number": _change_number,
}
