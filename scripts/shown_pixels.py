"""Which pixels every part of crossview shows of a panorama: the table of docs/evaluation.md.

    python scripts/shown_pixels.py

Nothing is computed here about crops: the same small picture goes through training, validation,
mining, studies, evaluate, explain and locate, and what reaches their networks is kept and counted.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from crossview.arrays import F32, U8, Bool
from crossview.catalogue import configure
from crossview.evaluation.conditions import Condition
from crossview.evaluation.embed import EmbedSettings, embed
from crossview.explain.consistency import measure_consistency
from crossview.localization.hints import Hints
from crossview.localization.queries import make_queries
from crossview.model import ModelInfo
from crossview.pairs.batch import Views
from crossview.pairs.loading import Loader, RawBatch, Reader, make_plain_reader
from crossview.pairs.reading import Files
from crossview.pairs.table import Framing, PairTable, frame_views
from crossview.studies import singeo_variant
from crossview.studies.running import measure_row_recalls
from crossview.training.contract import TrainingRecipe, example_table
from crossview.training.mining import make_miner
from crossview.training.train_state import TrainState, make_state
from crossview.training.validation import measure_recalls
from crossview.views.decode import Photo
from crossview.views.spec import ViewSpec

FOVS_DEG = (360.0, 180.0, 90.0, 70.0)
SIZES = {"narrow": (140, 768), "padded": (384, 768)}  # SinGeo's; its vision transformer's
ABOVE_PX = 16
BLUE = 255  # of every pixel of the picture; the mean colour has another


@dataclass(frozen=True, kw_only=True)
class Case:
    """One picture and what is to be shown of it, and where its files are."""

    folder: Path
    fov_deg: float
    representation: str = "narrow"
    size_px: tuple[int, int] = (16, 64)  # height, width of the panorama and of the view
    turn: int = 0  # columns by which the camera has turned to the right

    @property
    def config(self) -> dict[str, Any]:
        """Settings of Sample4Geo and SinGeo: files as they are, nothing else is drawn."""
        return {
            "backbone": "test_convnext",
            "weights": "none",
            "representation": self.representation,
            "whole": True,
            "ground_px": self.size_px,
            "aerial_px": ABOVE_PX,
            "theta_deg": (360.0, self.fov_deg),
            "course": "fixed",
            "mirror": 0.0,
            "turn": 0.0,
            "colour": 0.0,
        }

    @property
    def views(self) -> Views:
        """Of a model that is shown panoramas as their headings say."""
        return replace(
            singeo_variant.views(singeo_variant.Config(**self.config)), headings_seen="aligned"
        )

    @property
    def spec(self) -> ViewSpec:
        """The ground view."""
        return self.views.ground

    @property
    def framing(self) -> Framing:
        """What a data set of such files says of them: rows are equal angles, as columns are."""
        height, width = self.size_px
        half = 180.0 * height / width
        return Framing(file_elevation_deg=(-half, half), footprint_m=40.0)

    def panorama(self) -> U8:
        """The file's pixels [h, W, 3]: red and green tell the column, blue is :data:`BLUE`."""
        height, width = self.size_px
        columns = np.arange(width)
        line = np.stack([columns % 256, columns // 256 * 40, np.full(width, BLUE)], axis=1)
        return np.repeat(line[None].astype(np.uint8), height, axis=0)

    def table(self) -> PairTable:
        """Two pairs of one and the same picture, whose files are written."""
        ground = tuple(self.folder / f"g{n}.png" for n in range(2))
        aerial = tuple(self.folder / f"a{n}.png" for n in range(2))
        for path in ground:
            Image.fromarray(self.panorama()).save(path)
        for n, path in enumerate(aerial):
            square = np.random.default_rng(n).integers(0, 255, (ABOVE_PX, ABOVE_PX, 3))
            Image.fromarray(square.astype(np.uint8)).save(path)
        heading = np.full(2, -360.0 * self.turn / self.size_px[1])
        table = example_table(2)
        return replace(
            table, ground=ground, aerial=aerial, heading_deg=heading, framing=self.framing
        )

    def reader(self) -> Reader:
        """Of the pictures as they are."""
        return make_plain_reader(self.table(), self.views)


class Watched(torch.nn.Module):
    """A network that keeps the ground pictures that it is given; its vectors say nothing."""

    def __init__(self, spec: ViewSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model = torch.nn.Module()
        self.model.stages = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=4))
        self.seen: list[U8] = []

    def ground(self, images: torch.Tensor) -> torch.Tensor:
        """Unit vectors [B, 8]; every picture is kept in uint8."""
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.spec.mean, self.spec.std))
        pixels = (images.detach() * std + mean) * 255.0
        self.seen += list(pixels.round().byte().permute(0, 2, 3, 1).numpy())
        return self.aerial(images)

    def aerial(self, images: torch.Tensor) -> torch.Tensor:
        """Unit vectors [B, 8]."""
        maps = self.model.stages(images)
        return torch.nn.functional.normalize(maps.mean(dim=(2, 3)), dim=1)


class WatchedEmbedder:
    """As :class:`Watched`, where no torch is asked for."""

    def __init__(self, case: Case) -> None:
        views = frame_views(case.views, case.framing)  # as a model of such files is exported
        self.info = ModelInfo(name="watched", ground=views.ground, aerial=views.aerial, dim=8)
        self.fingerprint = "0" * 64
        self.seen: list[U8] = []

    def ground(self, images: U8) -> F32:
        """Vectors [B, 8]; every picture is kept."""
        self.seen += list(images)
        return self.aerial(images)

    def aerial(self, images: U8) -> F32:
        """Vectors [B, 8] drawn at random."""
        return np.random.default_rng(0).normal(size=(len(images), 8)).astype(np.float32)


def trained_with(case: Case, method: str = "singeo", draw: int = 0) -> U8:
    """What training shows: the picture that SinGeo makes the positive, or Sample4Geo's own.

    Training turns the camera by an angle of its own, drawn anew for each ``draw``.
    """
    page, config = configure(
        method, case.config | ({"shifted": True} if method == "sample4geo" else {})
    )
    views = page.load().views(config)
    table = case.table()
    reader = Reader(
        table=table,
        source=Files(table, views),
        views=views,
        places=table.places(),
        page=page,
        config=asdict(config),
        seed=draw,
    )
    with Loader(reader, 0) as loader:
        (raw,) = loader.epoch(draw, [[0, 1]])
    copies: tuple[RawBatch, ...] = (raw, *raw.more)
    return copies[-1].ground[0]


def validated_with(case: Case) -> U8:
    """What ``crossview train`` reports on between its steps."""
    with _state(case) as (state, model), Loader(case.reader(), 0) as loader:
        measure_recalls(state, case.table(), loader, case.views, [case.fov_deg])
    return model.seen[0]


def mined_with(case: Case) -> U8:
    """What similar places are sought with between epochs."""
    page, config = configure("singeo", case.config)
    reader = replace(case.reader(), page=page, config=asdict(config))
    with _state(case) as (state, model):
        make_miner(reader, 0)(state)
    return model.seen[0]


def studied_with(case: Case) -> U8:
    """What ``crossview study`` tests its rows on."""
    with _state(case) as (state, model):
        measure_row_recalls(state, case.table(), case.reader(), 0, case.fov_deg)
    return model.seen[0]


def evaluated_with(case: Case) -> U8:
    """What ``crossview evaluate`` and ``crossview train --test`` measure with."""
    embedder, table = WatchedEmbedder(case), case.table()
    condition = Condition(fov_deg=case.fov_deg, within_deg=0.0)
    embed(table, embedder, [condition], EmbedSettings(source=Files(table, case.views), workers=0))
    return embedder.seen[0]


def explained_with(case: Case) -> U8:
    """What ``crossview evaluate --consistency`` compares maps of."""
    with _state(case) as (_, model):
        measure_consistency(model, case.reader(), [0, 1], crops_deg=[case.fov_deg])
    return model.seen[-1]


def located_with(case: Case) -> U8:
    """What ``crossview locate`` shows of a panorama that has this field of view and no more."""
    width = case.size_px[1]
    kept = case.spec.columns(case.fov_deg)
    first = (width - kept) // 2
    part = np.roll(case.panorama(), -case.turn, axis=1)[:, first : first + kept]
    photo = Photo(pixels=part, path="", sha256="", kind="panorama", fov_deg=case.fov_deg)
    embedder = WatchedEmbedder(case)
    list(make_queries([photo], [Hints()], embedder))
    return embedder.seen[0]


CALLERS: dict[str, Callable[[Case], U8]] = {
    "training": trained_with,
    "validation": validated_with,
    "mining": mined_with,
    "studies": studied_with,
    "evaluate": evaluated_with,
    "explain": explained_with,
    "locate": located_with,
}


def mask_of(picture: U8) -> Bool:
    """Which pixels [h, w] are the panorama's."""
    mask: Bool = picture[..., 2] == BLUE
    return mask


def table_lines() -> Iterator[str]:
    """The table in Markdown: columns and pixels that each caller shows."""
    yield f"| field of view | representation | {' | '.join(CALLERS)} |"
    yield f"|---|---|{'---|' * len(CALLERS)}"
    for representation, size_px in SIZES.items():
        for fov in FOVS_DEG:
            cells = []
            for caller in CALLERS.values():
                with tempfile.TemporaryDirectory() as folder:
                    mask = mask_of(caller(Case(
                        folder=Path(folder), fov_deg=fov, representation=representation,
                        size_px=size_px,
                    )))  # fmt: skip
                cells.append(f"{mask.any(axis=0).sum()}: {mask.sum():,}")
            height, width = size_px
            yield f"| {fov:g} | {representation}, {width} x {height} | {' | '.join(cells)} |"


@contextmanager
def _state(case: Case) -> Iterator[tuple[TrainState, Watched]]:
    torch.manual_seed(0)
    model = Watched(case.spec)
    yield make_state(model, TrainingRecipe()), model


if __name__ == "__main__":
    sys.stdout.write("\n".join(table_lines()) + "\n")
