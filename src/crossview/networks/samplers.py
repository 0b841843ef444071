"""Who shares a batch: a table (and perhaps neighbours) in, the lists of rows of one epoch out.

In a contrastive loss every other row of a batch is a negative. So no sampler puts two rows of one
place into a batch, nor near-misses that the data marks as neither right nor wrong.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch

from crossview.arrays import F64, I64
from crossview.errors import BadData, require
from crossview.geo.points import EARTH_RADIUS_M, LatLon, measure_distances_m
from crossview.pairs.table import PairTable


class Rivals:
    """Answers whether a row may join a batch. In a contrastive loss each other row is a negative.

    Rows of one place would be wrong negatives, and so would near-misses that the data marks as
    neither right nor wrong.
    """

    def __init__(self, table: PairTable) -> None:
        self._place = table.places().tolist()
        self._near: dict[int, set[int]] = defaultdict(set)
        by_ground, by_aerial = defaultdict(list), defaultdict(list)
        for row, (g, a) in enumerate(table.pairs.tolist()):
            by_ground[g].append(row)
            by_aerial[a].append(row)
        for g, a in table.ignored.tolist():
            for rival in by_ground[g]:
                for other in by_aerial[a]:
                    self._near[rival].add(other)
                    self._near[other].add(rival)

    def batch(self) -> RowBatch:
        """An empty batch to fill."""
        return RowBatch(self._place, self._near)


class RowBatch:
    """Rows that may stand together, in the order in which they joined."""

    def __init__(self, place: list[int], near: dict[int, set[int]]) -> None:
        self._place, self._near = place, near
        self._places: set[int] = set()
        self.rows: list[int] = []

    def admits(self, row: int) -> bool:
        """Whether no row of the batch is a rival of this one."""
        if self._place[row] in self._places:
            return False
        return row not in self._near or self._near[row].isdisjoint(self.rows)

    def add(self, row: int) -> None:
        """Take a row in."""
        self._places.add(self._place[row])
        self.rows.append(row)


def draw_batches(table: PairTable, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Full batches of ``size`` rows in random order, every row at most once.

    A row with a rival in the batch waits for the next one. Rows that are left when no full batch
    can be made are dropped.
    """
    return pack_batches(
        torch.randperm(len(table), generator=generator).tolist(), size, Rivals(table)
    )


def pack_batches(order: Iterable[int], size: int, rivals: Rivals) -> Iterator[list[int]]:
    """Full batches of ``size`` of these rows in their order, as far as rivals allow it."""
    queue = deque(order)
    while queue:
        batch = rivals.batch()
        waiting: list[int] = []
        while queue and len(batch.rows) < size:
            row = queue.popleft()
            if batch.admits(row):
                batch.add(row)
            else:
                waiting.append(row)
        if len(batch.rows) < size:
            return
        queue.extendleft(reversed(waiting))
        yield batch.rows


GIVE_UP = 1024  # failures in a row that end an epoch (authors' setting)


@lru_cache(maxsize=4)
def nearest_places(table: PairTable, count: int) -> I64:
    """[P, count] rows of *other* places, nearest first, in metres; fewer columns if there are few.

    Memory is one row of distances at a time. Raises BadData where a row has no latitude.
    """
    latlon, places = require_latlon(table), table.places()
    columns = min(count, _others(places))
    near = np.empty((len(table), columns), dtype=np.int64)
    points = _on_the_sphere(latlon)
    for row, point in enumerate(points):
        near[row] = nearest_first(np.square(points - point).sum(axis=1), places, row, columns)
    near.setflags(write=False)  # the same array is handed out every epoch
    return near


def require_latlon(table: PairTable) -> F64:
    """[P, 2] where each row was taken; BadData where a row has no latitude."""
    latlon = table.rows_latlon()
    if not np.isfinite(latlon).all():
        missing = int((~np.isfinite(latlon).all(axis=1)).sum())
        raise BadData(
            f"{missing} of {len(table)} pairs have no latitude and longitude; sampling by distance "
            "needs them.\nAdd ground_lat and ground_lon (or aerial_*), or sample without: "
            "--config gps_sampling=false or sampling=pairs, where the method has it."
        )
    return latlon


def _on_the_sphere(latlon: F64) -> F64:
    """[N, 3] metres from the Earth's centre; straight distances order points as the haversine."""
    lat, lon = np.radians(latlon).T
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    return EARTH_RADIUS_M * unit


def nearest_first(distance: F64, places: I64, row: int, count: int) -> I64:
    """The ``count`` rows of smallest ``distance`` [P] that show another place than ``row``."""
    masked = np.where(places == places[row], np.inf, distance)
    some = np.argpartition(masked, count - 1)[:count] if count < len(masked) else np.arange(count)
    order: I64 = some[np.lexsort((some, masked[some]))]
    return order


def draw_neighbour_batches(
    table: PairTable,
    near: I64,
    size: int,
    generator: torch.Generator,
    select: int = 64,
) -> Iterator[list[int]]:
    """Full batches: a seed row, then rows near it, then the next seed, until the batch is full.

    Of the neighbours the first ``select / 2`` come first, then ``select / 2`` drawn from the rest
    (authors' settings: select 64 of 128). Every row at most once in an epoch, no rivals in a batch;
    the incomplete last batch is dropped.

    The hard negatives of Sample4Geo (Deuser et al., ICCV 2023, section 3.2): GPS sampling, then
    dynamic similarity sampling. Neighbours are data, from places (:func:`nearest_places`) or from
    vectors, which the training compares between epochs.
    Deviation: distances are metres on the sphere; the authors' code gives degrees to a haversine
    that expects radians, which makes most CVUSA neighbours wrong.
    """
    if near.shape[0] != len(table) or (near.size and near.max() >= len(table)):
        raise BadData(
            f"neighbours of {near.shape[0]} rows that point up to row "
            f"{int(near.max()) if near.size else 0} do not fit a table of {len(table)} pairs."
        )
    rivals = Rivals(table)
    pool = deque(torch.randperm(len(table), generator=generator).tolist())
    used: set[int] = set()
    batch = rivals.batch()
    failures = 0
    while pool and failures < GIVE_UP:
        seed = pool.popleft()
        if seed in used or not batch.admits(seed):
            failures += 1
            if seed not in used:
                pool.append(seed)
            continue
        failures = 0
        for row in (seed, *_candidates(near[seed], select // 2, generator)):
            if len(batch.rows) < size and row not in used and batch.admits(row):
                batch.add(row)
                used.add(row)
        if len(batch.rows) == size:
            yield batch.rows
            batch = rivals.batch()


def _candidates(near: I64, half: int, generator: torch.Generator) -> list[int]:
    far = near[half:]
    drawn = torch.randperm(len(far), generator=generator)[:half].numpy()
    return [*near[:half].tolist(), *far[drawn].tolist()]


def draw_mined_batches(
    table: PairTable, near: I64 | None, size: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Full batches of which one half is random, and the other for each of these a row like it.

    ``near`` [P, k] are each row's neighbours by similarity; None, before vectors have been
    compared: :func:`draw_batches`. Of the neighbours any may be drawn; one that shares an aerial
    picture with a row of the batch, as match or as near-miss of either, is drawn again. An epoch
    has as many batches as without neighbours; a row may come several times, as a hard one.

    Global mining: Zhu, Yang, Chen (VIGOR, CVPR 2021), which TransGeo (CVPR 2022) takes over.
    Deviations: neighbours come from all rows, not from 40,000 drawn anew for each epoch; and where
    no neighbour fits, a random row takes its place.
    """
    if near is None:
        yield from draw_batches(table, size, generator)
        return
    rivals, shown = Rivals(table), _list_shown(table)
    queue = deque(torch.randperm(len(table), generator=generator).tolist())
    for _ in range(len(table) // size):
        batch, taken = rivals.batch(), set[int]()

        def join(row: int, batch: RowBatch = batch, taken: set[int] = taken) -> bool:
            fits = taken.isdisjoint(shown[row]) and batch.admits(row)
            if fits:
                batch.add(row)
                taken.update(shown[row])
            return fits

        _take_first(queue, join, size - size // 2)
        for row in list(batch.rows[: size // 2]):
            order = torch.randperm(near.shape[1], generator=generator).tolist()
            any(join(int(near[row, column])) for column in order)
        _take_first(queue, join, size - len(batch.rows))
        if len(batch.rows) < size:
            return
        yield batch.rows


def _list_shown(table: PairTable) -> list[set[int]]:
    """Of each row the aerial pictures that show its place, matches and near-misses."""
    by_ground: dict[int, set[int]] = defaultdict(set)
    for relation in (table.pairs, table.ignored):
        for g, a in relation.tolist():
            by_ground[g].add(a)
    return [by_ground[g] for g in table.pairs[:, 0].tolist()]


def _take_first(queue: deque[int], join: Callable[[int], bool], count: int) -> None:
    """Move the first ``count`` rows that may join; those that may not keep their places."""
    waiting: list[int] = []
    while queue and count > 0:
        row = queue.popleft()
        if join(row):
            count -= 1
        else:
            waiting.append(row)
    queue.extendleft(reversed(waiting))


def _others(places: I64) -> int:
    """How many rows of other places every row has at least."""
    return int(len(places) - np.bincount(places).max()) if len(places) else 0


def draw_regional_batches(
    table: PairTable, size: int, reach_m: float, apart_m: float, generator: torch.Generator
) -> Iterator[list[int]]:
    """Full batches: a random row, then random unused rows within ``reach_m`` of it.

    No two rows of a batch are rivals or lie nearer than ``apart_m``, so that no near match counts
    as a negative. A region that has no more rows is followed by the next seed's; the last batch is
    dropped. Raises BadData where a row has no place,
    InvalidValue if ``reach_m`` is not above 0 or no larger than ``apart_m``.

    Rows of one region are what the references of a search are.
    """
    allowed = f"It must be above 0 and above the {apart_m:g} m that rows of a batch lie apart."
    require(reach_m > max(0.0, apart_m), f"a batch cannot reach {reach_m:g} m.\n{allowed}")
    latlon, rivals = require_latlon(table), Rivals(table)
    order = torch.randperm(len(table), generator=generator).numpy()
    unused = np.ones(len(table), dtype=bool)
    batch = rivals.batch()
    for seed in order:
        if not unused[seed]:
            continue
        near = _metres(latlon, int(seed)) <= reach_m
        for row in order[(unused & near)[order]]:
            fits = len(batch.rows) < size and batch.admits(int(row))
            if fits and _is_apart(latlon, int(row), batch.rows, apart_m):
                batch.add(int(row))
                unused[row] = False
        if len(batch.rows) == size:
            yield batch.rows
            batch = rivals.batch()


def draw_mixed_batches(
    table: PairTable, size: int, reach_m: float, apart_m: float, generator: torch.Generator
) -> Iterator[list[int]]:
    """As :func:`draw_regional_batches`, every batch holding equal shares of the joined lists.

    Shares follow one another in the order of the lists; within each of them rows are of a region.
    A list that is used up starts again until the longest has been through, so an epoch is as long
    as that one. ``size`` is a multiple of the number of lists.
    """
    parts = table.list_parts()
    if len(parts) == 1:
        yield from draw_regional_batches(table, size, reach_m, apart_m, generator)
        return
    share = size // len(parts)
    tables = [table.take(rows) for rows in parts]
    drawn = [list(draw_regional_batches(one, share, reach_m, apart_m, generator)) for one in tables]
    longest = max(map(len, drawn))
    for shares, one in zip(drawn, tables, strict=True):
        while 0 < len(shares) < longest:
            shares.extend(draw_regional_batches(one, share, reach_m, apart_m, generator))
    for together in zip(*drawn, strict=False):
        yield [int(rows[n]) for rows, some in zip(parts, together, strict=True) for n in some]


def _metres(latlon: F64, row: int) -> F64:
    return measure_distances_m(LatLon(*latlon[row]), latlon[:, 0], latlon[:, 1])


def _is_apart(latlon: F64, row: int, batch: list[int], apart_m: float) -> bool:
    if not batch:
        return True
    others = latlon[batch]
    return bool(
        measure_distances_m(LatLon(*latlon[row]), others[:, 0], others[:, 1]).min() >= apart_m
    )


ROUNDS = 2


def draw_aerial_first(
    table: PairTable, size: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Full batches of ``size`` rows, each of another aerial picture; incomplete ones are dropped.

    A picture that covers several panoramas stands for one of them, chosen uniformly each time.

    VIGOR's order of GeoDTR+ (released code of arXiv 2308.09624): every aerial picture twice an
    epoch, with one of its panoramas. Deviations: the two rounds are drawn one after the other, so
    that no aerial picture meets itself in a batch, and near-misses of one another (VIGOR's
    semi-positives) wait for the next batch, where the authors let them be negatives.
    """
    rivals = Rivals(table)
    order = np.argsort(table.pairs[:, 1], kind="stable")
    counts = np.bincount(table.pairs[:, 1])
    covered = [rows for rows in np.split(order, np.cumsum(counts)[:-1]) if len(rows)]
    for _ in range(ROUNDS):
        yield from pack_batches(_one_each(covered, generator), size, rivals)


def _one_each(covered: list[I64], generator: torch.Generator) -> Iterator[int]:
    for place in torch.randperm(len(covered), generator=generator).tolist():
        rows = covered[place]
        yield int(rows[int(torch.randint(len(rows), (1,), generator=generator))])
