"""Where a picture is cut. Pure arithmetic: no pixels, no sessions. All lengths are input pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

# The edges, halo included, of tiles on a device that prepares something per shape (cuDNN searches, CUDA
# graphs, TensorRT profiles): a closed set. Each is at most 1.5 times the one before, so little of a tile is
# wasted.
LADDER = (96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis: reads [start, stop), of which [keep, keep_stop) is kept."""

    start: int
    stop: int
    keep: int
    keep_stop: int


@dataclass(frozen=True, slots=True)
class Tile:
    """What is read from the picture, and which part of the answer is kept.

    Guaranteed: the read region lies inside the picture; it reaches ``halo`` pixels beyond the kept region on
    every side, or to the picture's own border.
    """

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width that are read."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def area(self) -> int:
        """Pixels that are read."""
        height, width = self.shape
        return height * width

    @property
    def kept_area(self) -> int:
        """Pixels that are kept."""
        return (self.rows.keep_stop - self.rows.keep) * (self.columns.keep_stop - self.columns.keep)


@dataclass(frozen=True, slots=True)
class Plan:
    """A picture's tiles, in bands from top to bottom.

    Guaranteed: the kept regions cover every pixel exactly once, and all tiles have the one ``shape``. (A ``part`` of a
    plan covers its own rows only.)
    """

    height: int
    width: int
    halo: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every tile, halo included."""
        return self.rows[0].stop - self.rows[0].start, self.columns[0].stop - self.columns[0].start

    @property
    def count(self) -> int:
        return len(self.rows) * len(self.columns)

    def part(self, top: int, bottom: int) -> Plan:
        """The bands that keep any of the rows [top, bottom), which must not be none."""
        return replace(self, rows=tuple(span for span in self.rows if span.keep < bottom and span.keep_stop > top))

    def bands(self) -> Iterator[tuple[Span, list[Tile]]]:
        """Each band's rows and its tiles from left to right."""
        for rows in self.rows:
            yield rows, [Tile(rows, columns) for columns in self.columns]


@dataclass(frozen=True, slots=True)
class Costs:
    """What one picture may occupy on its way through a network, and what its tiles and rows cost."""

    memory: int
    """Bytes for one running tile's activations and two bands of finished rows (one is filled while the other
    is written out)."""
    tile_pixel: int
    """Bytes of activations per input pixel of a tile."""
    band_pixel: int
    """Bytes of finished output per input pixel of a band."""

    def of_tile(self, edges: tuple[int, int]) -> int:
        """Bytes of activations of one tile."""
        return edges[0] * edges[1] * self.tile_pixel

    def of_bands(self, height: int, width: int, count: int) -> int:
        """Bytes of the finished rows that are held at once, in ``count`` bands of ``height`` x ``width``."""
        return min(count, 2) * height * width * self.band_pixel


def plan(height: int, width: int, *, halo: int, costs: Costs, closed: bool) -> Plan:
    """The tiles with the fewest computed pixels whose memory fits ``costs``.

    With ``closed`` each edge is one of LADDER, or the picture's own where the picture is shorter than the
    first step; otherwise edges are free, and a picture is divided evenly. A picture so wide that even its
    lowest bands leave less than a quarter of the memory for a tile gets that quarter on top; if nothing fits,
    the least memory wins.
    """
    heights, widths = _edges(height, halo, closed), _edges(width, halo, closed)

    def bands(edge: int) -> int:
        return costs.of_bands(edge, width, _parts(height, edge, halo))

    memory = max(costs.memory, min(map(bands, heights)) + costs.memory // 4)

    def rank(edges: tuple[int, int]) -> tuple[int, int, int]:
        down, across = (_parts(size, edge, halo) for size, edge in zip((height, width), edges, strict=True))
        excess = max(0, costs.of_tile(edges) + bands(edges[0]) - memory)
        return excess, down * across * edges[0] * edges[1], down * across

    edges = min(((edge_h, edge_w) for edge_h in heights for edge_w in widths), key=rank)
    return plan_of_tiles(height, width, halo=halo, shape=edges)


def plan_of_tiles(height: int, width: int, *, halo: int, shape: tuple[int, int]) -> Plan:
    """The tiles of a plan whose ``shape`` is known."""
    return Plan(height, width, halo, _spans(height, shape[0], halo), _spans(width, shape[1], halo))


def plan_kept_squares(height: int, width: int, *, halo: int, edge: int) -> Plan:
    """Tiles whose kept regions are the squares of a grid of ``edge`` >= 1 pixels (cut off at the right and
    bottom)."""
    return Plan(height, width, halo, _grid(height, edge, halo), _grid(width, edge, halo))


def halves(tile: Tile, picture: Plan) -> tuple[Tile, Tile] | None:
    """The tile as two, each keeping half of what it keeps along the longer side; None where that is too short
    to help.

    Used when a device has no memory for the tile.
    """
    height = tile.rows.keep_stop - tile.rows.keep
    width = tile.columns.keep_stop - tile.columns.keep
    if max(height, width) < 2 * max(8, picture.halo):
        return None
    if height >= width:
        upper, lower = _cut(tile.rows, picture.height, picture.halo)
        return Tile(upper, tile.columns), Tile(lower, tile.columns)
    left, right = _cut(tile.columns, picture.width, picture.halo)
    return Tile(tile.rows, left), Tile(tile.rows, right)


def _cut(span: Span, size: int, halo: int) -> tuple[Span, Span]:
    middle = (span.keep + span.keep_stop) // 2
    first, second = (
        Span(max(0, low - halo), min(size, high + halo), low, high)
        for low, high in ((span.keep, middle), (middle, span.keep_stop))
    )
    return first, second


def _edges(size: int, halo: int, closed: bool) -> list[int]:
    """The edges worth trying along an axis of ``size`` pixels; never empty."""
    if closed:
        return [edge for edge in LADDER if 2 * halo < edge <= size] or [size]
    edges = [size]
    # Parts longer than the ladder's last step would not fit any memory setting: not worth ranking.
    for parts in range(max(2, size // LADDER[-1]), size):
        edge = -(-(size + 2 * halo * (parts - 1)) // parts)
        if edge < LADDER[0] or edge <= 2 * halo:
            break
        edges.append(edge)
    return edges


def _parts(size: int, edge: int, halo: int) -> int:
    """How many tiles ``_spans`` makes: the first and last keep ``edge - halo`` pixels, those between them
    less."""
    return 1 if edge >= size else -(-(size - 2 * halo) // (edge - 2 * halo))


def _spans(size: int, edge: int, halo: int) -> tuple[Span, ...]:
    """Tiles of ``edge`` pixels along an axis; each keeps all that its halo allows, the last one moves
    inwards."""
    spans = []
    keep = 0
    while keep < size:
        start = min(max(0, keep - halo), size - edge)
        stop = start + edge
        keep_stop = size if stop == size else stop - halo
        spans.append(Span(start, stop, keep, keep_stop))
        keep = keep_stop
    return tuple(spans)


def _grid(size: int, step: int, halo: int) -> tuple[Span, ...]:
    """Tiles that keep [0, step), [step, 2 step), ... and read a window of one length, moved inwards at the
    borders."""
    edge = min(size, step + 2 * halo)
    bounds = [*range(0, size, step), size]
    return tuple(
        Span(start, start + edge, low, high)
        for low, high in pairwise(bounds)
        for start in [min(max(0, low - halo), size - edge)]
    )
