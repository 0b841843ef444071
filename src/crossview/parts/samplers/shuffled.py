"""Random batches in which no place occurs twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch

from crossview.pairs.table import PairTable


def shuffled(table: PairTable, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Full batches of ``size`` rows in random order, every row at most once.

    A row whose place is already in the batch waits for the next one. Rows that are left when no
    full batch can be made are dropped.
    """
    places = table.places()
    queue = deque(torch.randperm(len(table), generator=generator).tolist())
    while queue:
        batch: list[int] = []
        taken: set[int] = set()
        waiting: list[int] = []
        while queue and len(batch) < size:
            row = queue.popleft()
            if int(places[row]) in taken:
                waiting.append(row)
            else:
                taken.add(int(places[row]))
                batch.append(row)
        if len(batch) < size:
            return
        queue.extendleft(reversed(waiting))
        yield batch
