"""Rows that must not share a batch: the same place, or an ignored near-miss of one another."""

from __future__ import annotations

from collections import defaultdict

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
            for one in by_ground[g]:
                for other in by_aerial[a]:
                    self._near[one].add(other)
                    self._near[other].add(one)

    def batch(self) -> Batch:
        """An empty batch to fill."""
        return Batch(self._place, self._near)


class Batch:
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
