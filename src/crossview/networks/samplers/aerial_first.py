"""VIGOR's order of GeoDTR+: every aerial picture twice an epoch, with one of its panoramas.

Authors' setting (released code of arXiv 2308.09624). Deviations: the two rounds are drawn one after
the other, so that no aerial picture meets itself in a batch, and near-misses of one another
(VIGOR's semi-positives) wait for the next batch, where the authors let them be negatives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from crossview.arrays import I64
from crossview.networks.samplers.rivals import Rivals
from crossview.networks.samplers.shuffled import packed
from crossview.pairs.table import PairTable

ROUNDS = 2


def aerial_first(table: PairTable, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Full batches of ``size`` rows, each of another aerial picture; incomplete ones are dropped.

    A picture that covers several panoramas stands for one of them, chosen uniformly each time.
    """
    rivals = Rivals(table)
    order = np.argsort(table.pairs[:, 1], kind="stable")
    counts = np.bincount(table.pairs[:, 1])
    covered = [rows for rows in np.split(order, np.cumsum(counts)[:-1]) if len(rows)]
    for _ in range(ROUNDS):
        yield from packed(_one_each(covered, generator), size, rivals)


def _one_each(covered: list[I64], generator: torch.Generator) -> Iterator[int]:
    for place in torch.randperm(len(covered), generator=generator).tolist():
        rows = covered[place]
        yield int(rows[int(torch.randint(len(rows), (1,), generator=generator))])
