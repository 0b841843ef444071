"""Random batches without rivals: no place twice, no ignored near-misses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import torch

from crossview.networks.samplers.rivals import Rivals
from crossview.pairs.table import PairTable


def shuffled(table: PairTable, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Full batches of ``size`` rows in random order, every row at most once.

    A row with a rival in the batch waits for the next one. Rows that are left when no full batch
    can be made are dropped.
    """
    return packed(torch.randperm(len(table), generator=generator).tolist(), size, Rivals(table))


def packed(order: Iterable[int], size: int, rivals: Rivals) -> Iterator[list[int]]:
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
