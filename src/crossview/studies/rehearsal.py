"""A dry run: every row's network is built, and one batch goes forward and backward through it.

The pictures are noise, but they go the row's own way: its sampler chooses the places, its views and
its ``augment`` make the pictures, a quarter into its course if it has one. So rows that differ
only in what they show differ here too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from crossview import catalogue
from crossview.arrays import U8
from crossview.pairs.batch import Batch, TrainingLength, Views
from crossview.pairs.loading import Reader, to_batch
from crossview.pairs.page_ref import PageRef
from crossview.studies.areas import published_settings
from crossview.studies.definitions import Row, Study
from crossview.training.contract import TrainingRecipe, example_pair, example_table
from crossview.training.session import build_without_weights

PLACES = 4  # of a batch that are run
_SEED = 1
_QUARTER = TrainingLength(epochs=4.0, batches=1)  # half way a course and its reverse are the same


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What a row's network is, and how long one small batch took."""

    row: str
    parameters: int
    ground_px: tuple[int, int]  # as its views say; a batch may be narrower
    aerial_px: tuple[int, int]
    dim: int
    batch: int  # places of a whole batch
    places: int
    copies: int  # of each place, the first included
    losses: dict[str, float]
    seconds: float


def rehearse(study: Study, rows: tuple[Row, ...], data: str) -> Iterator[Rehearsed]:
    """Row by row at the full size that ``data`` ("cvusa", ...) is trained with; "" for towns.

    Weights are random, pictures are noise, and of a batch four places are run, with their copies.
    """
    for row in rows:
        method = row.method or study.method
        page = catalogue.method_page(method)
        settings = {**study.towns, **(row.small or row.settings)}
        if data:
            settings = {**published_settings(method, data), **row.settings}
        config = catalogue.make_config(page.load(), {**settings, "weights": "none"})
        yield _one(row, page, config)


@dataclass(frozen=True)
class Noise:
    """Pictures of noise that fit the views, the same for the same place: a reader's source."""

    views: Views

    def ground(self, index: int) -> tuple[U8, float]:
        """A panorama of noise and its field of view."""
        spec = self.views.ground
        return _noise(2 * index, (spec.height_px, spec.width_px, 3)), 360.0

    def aerial(self, index: int) -> tuple[U8, float]:
        """An aerial picture of noise and its metres per pixel."""
        spec, pair = self.views.aerial, example_pair(self.views)
        shape = (spec.height_px, spec.width_px, 3) if spec.whole else pair.aerial.shape
        return _noise(2 * index + 1, shape), pair.metres_per_px


def _noise(seed: int, shape: tuple[int, ...]) -> U8:
    return np.random.default_rng((_SEED, seed)).integers(0, 256, shape, dtype=np.uint8)


def _one(row: Row, page: PageRef, config: Any) -> Rehearsed:
    torch.manual_seed(_SEED)
    begun = time.perf_counter()
    method = page.load()
    model = build_without_weights(method, config).train()
    views = method.views(config)
    size, batch = _batch(page, config, views)
    losses = method.objective(model, batch, config)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        dim = model.eval().aerial(batch.aerial[:1]).shape[1]  # type: ignore[operator]
    return Rehearsed(
        row=row.name,
        parameters=sum(p.numel() for p in model.parameters()),
        ground_px=(views.ground.height_px, views.ground.width_px),
        aerial_px=(views.aerial.height_px, views.aerial.width_px),
        dim=int(dim),
        batch=size,
        places=len(batch),
        copies=1 + len(batch.more),
        losses={name: round(value.item(), 4) for name, value in losses.items()},
        seconds=round(time.perf_counter() - begun, 1),
    )


def _batch(page: PageRef, config: Any, views: Views) -> tuple[int, Batch]:
    """How many places the row's first batch holds, and the pictures of the first of them."""
    method, recipe = page.load(), TrainingRecipe.of(config)
    table = example_table(4 * recipe.batch)
    generator = torch.Generator().manual_seed(_SEED)
    rows = next(iter(method.batches(table, config, generator, None)))
    reader = Reader(
        table=table,
        source=Noise(views),
        views=views,
        places=table.places(),
        page=page,
        config=asdict(config),
        seed=_SEED,
        span=_QUARTER,
    )
    raw = reader.batch(0, 0, rows[:PLACES])
    return len(rows), to_batch(raw, views, torch.device("cpu"))
