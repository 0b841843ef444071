"""A dry run: every row's network is built, and one batch goes forward and backward through it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from crossview import wiring
from crossview.studies.areas import published_settings
from crossview.studies.definitions import Row, Study
from crossview.training.checks import copies, example_batch
from crossview.training.setup import build_without_weights


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What a row's network is, and how long one small batch took."""

    row: str
    parameters: int
    ground_px: tuple[int, int]
    aerial_px: tuple[int, int]
    dim: int
    places: int
    losses: dict[str, float]
    seconds: float


def rehearse(study: Study, rows: tuple[Row, ...], data: str) -> Iterator[Rehearsed]:
    """Row by row at the full size that ``data`` ("cvusa", ...) is trained with; "" for towns.

    Weights are random, pictures are noise, and the batch holds four places, with their copies.
    """
    for row in rows:
        method = row.method or study.method
        page = wiring.method_page(method).load()
        settings = {**study.towns, **(row.small or row.settings)}
        if data:
            settings = {**published_settings(method, data), **row.settings}
        config = wiring.make_config(page, {**settings, "weights": "none"})
        yield _one(row, page, config)


def _one(row: Row, page: Any, config: Any) -> Rehearsed:
    torch.manual_seed(1)
    begun = time.perf_counter()
    model = build_without_weights(page, config).train()
    views = page.views(config)
    batch = example_batch(views, torch.device("cpu"), copies(page, config))
    losses = page.objective(model, batch, config)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        dim = model.eval().aerial(batch.aerial[:1]).shape[1]  # type: ignore[operator]
    return Rehearsed(
        row=row.name,
        parameters=sum(p.numel() for p in model.parameters()),
        ground_px=(views.ground.height_px, views.ground.width_px),
        aerial_px=(views.aerial.height_px, views.aerial.width_px),
        dim=int(dim),
        places=len(batch),
        losses={name: round(value.item(), 4) for name, value in losses.items()},
        seconds=round(time.perf_counter() - begun, 1),
    )
