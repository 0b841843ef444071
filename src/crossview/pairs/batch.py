"""Pairs and batches, read and on a device; the two views of a method; a training's progress."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossview.arrays import F32, I64, U8
from crossview.errors import InvalidValue, require
from crossview.views.spec import ViewSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OF_THE_BATCH = 1_000_000_007  # where pairs have their position: the draws that a batch shares
_TENSORS = ("ground", "aerial", "rows", "places", "fov_deg", "heading_deg")
_OPTIONAL = ("camera", "told", "apart_m")  # tensors that may be None


@dataclass(frozen=True, kw_only=True)
class Views:
    """What each branch of a method sees, and what its vectors promise.

    ``azimuth_bins`` J > 1: a vector is J blocks, block j describing azimuths from 360 j / J - 180
    degrees; both sides are compared over all J turns (``index.similarity``). J = 1: dot
    product. ``equal_bins``: every block has the same length, so that the score is the mean of the
    blocks' cosines. ``headings_seen`` ("unknown" or "aligned") and ``fov_seen_deg`` say which
    ground pictures training shows; they travel with the exported model.
    """

    ground: ViewSpec
    aerial: ViewSpec
    azimuth_bins: int = 1
    headings_seen: str = "unknown"
    fov_seen_deg: tuple[float, float] = (360.0, 360.0)
    equal_bins: bool = False

    def __post_init__(self) -> None:
        require(
            self.ground.side == "ground" and self.aerial.side == "aerial",
            f"views need a ground and an aerial side, got {self.ground.side}, {self.aerial.side}.",
        )
        require(self.azimuth_bins >= 1, f"azimuth_bins must be >= 1, got {self.azimuth_bins}.")
        require(
            self.headings_seen in ("unknown", "aligned"),
            f"headings_seen must be unknown or aligned, got {self.headings_seen!r}.",
        )


@dataclass(frozen=True, kw_only=True)
class PairPixels:
    """One training pair before and after a method's ``augment``.

    ``ground`` is the canvas of the ground ViewSpec: the full 360 degrees of a panorama (width
    ``spec.width_px``), or a photo as ``views.ground.make_ground_view`` lays it out. ``aerial`` is
    as stored, up as stored, and may be larger than the footprint; it is centred on the aerial
    position.
    ``heading_deg`` is the azimuth of the canvas's middle column, clockwise from the up direction
    of ``aerial``; NaN if unknown. Panoramas of known heading arrive rolled, so that it is nearly 0.
    ``viewed``: ``augment`` has made ``aerial`` the view itself, of the aerial ViewSpec's size; the
    loader leaves it as it is. ``camera_m``: metres down and right from the middle of ``aerial`` to
    where the camera stands; NaN unknown. ``companion``: another pair of the same place, where the
    method's Config says ``companions = True`` and the table has one; with ``near_misses = True``
    the same ground picture beside an aerial one that is neither right nor wrong. ``told``: numbers
    that ``augment`` tells the objective of what it did, as many in every pair.
    """

    ground: U8  # [h, w, 3]
    aerial: U8  # [H, W, 3]
    metres_per_px: float  # of ``aerial``, metres on the ground
    fov_deg: float = 360.0  # visible horizontal field of view
    heading_deg: float = float("nan")
    viewed: bool = False
    camera_m: tuple[float, float] = (math.nan, math.nan)
    companion: PairPixels | None = None
    told: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B pairs, normalised, on the training device; row i of both sides belong together."""

    ground: Tensor  # float32 [B, 3, Hg, Wg]
    aerial: Tensor  # float32 [B, 3, Ha, Wa]
    rows: Tensor  # int64 [B], row of the PairTable
    places: Tensor  # int64 [B]; equal numbers show the same place
    fov_deg: Tensor  # float32 [B]
    heading_deg: Tensor  # float32 [B], see PairPixels; NaN if unknown
    camera: Tensor | None = None
    """float32 [B, 2] where the camera stands in the aerial view, down and right of its middle in
    halves of its side: (1, 1) is the lower right corner. NaN unknown; None: not asked for."""
    told: Tensor | None = None  # float32 [B, k], see PairPixels; None: nothing was told
    apart_m: Tensor | None = None
    """float32 [B, N] metres from each place to those of all N pairs of the batch, of which this may
    be a part; NaN unknown. None: the method's Config has no
    ``negatives_from_m`` above 0."""
    more: tuple[Batch, ...] = ()  # further copies of the same places, where augment makes them

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def part(self, start: int, stop: int) -> Batch:
        """Pairs ``start`` to ``stop`` (not included), copies included."""
        more = tuple(copy.part(start, stop) for copy in self.more)
        return Batch(**{n: tensor[start:stop] for n, tensor in self._tensors()}, more=more)

    def to(self, device: torch.device) -> Batch:
        """The same pairs on another device, copies included."""
        more = tuple(copy.to(device) for copy in self.more)
        return Batch(**{name: tensor.to(device) for name, tensor in self._tensors()}, more=more)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Those that are there, by name."""
        for name in (*_TENSORS, *_OPTIONAL):
            if (tensor := getattr(self, name)) is not None:
                yield name, tensor


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """A batch as workers send it."""

    ground: U8  # [B, h, w, 3]
    aerial: U8  # [B, H, W, 3]
    rows: I64  # [B]
    places: I64  # [B]
    fov_deg: F32  # [B]
    heading_deg: F32  # [B]
    camera: F32 | None = None  # [B, 2], see Batch
    told: F32 | None = None  # [B, k]
    apart_m: F32 | None = None  # [B, N], of a part of N pairs
    more: tuple[RawBatch, ...] = ()  # the same rows again, if ``augment`` makes several copies


def to_batch(raw: RawBatch, views: Views, device: torch.device) -> Batch:
    """Normalised tensors on ``device`` in channels-last memory order."""
    import torch

    arrays = {name: getattr(raw, name) for name in _OPTIONAL}
    return Batch(
        ground=normalise(raw.ground, views.ground, device),
        aerial=normalise(raw.aerial, views.aerial, device),
        rows=torch.from_numpy(raw.rows).to(device),
        places=torch.from_numpy(raw.places).to(device),
        fov_deg=torch.from_numpy(raw.fov_deg).to(device),
        heading_deg=torch.from_numpy(raw.heading_deg).to(device),
        **{n: torch.from_numpy(a).to(device) for n, a in arrays.items() if a is not None},
        more=tuple(to_batch(copy, views, device) for copy in raw.more),
    )


def normalise(images: U8, spec: ViewSpec, device: torch.device) -> Tensor:
    """uint8 [B, h, w, 3] -> float32 [B, 3, h, w], (x / 255 - mean) / std, channels last."""
    import torch

    mean = torch.tensor(spec.mean, device=device)
    std = torch.tensor(spec.std, device=device)
    pixels = torch.from_numpy(images).to(device).float()
    return pixels.sub_(255.0 * mean).div_(255.0 * std).permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class TrainingLength:
    """How long a training is."""

    epochs: float  # may be a fraction
    batches: int  # of one epoch

    def __post_init__(self) -> None:
        if not (self.epochs > 0 and self.batches > 0):
            raise InvalidValue(
                f"a training of {self.epochs:g} epochs of {self.batches} batches has no course "
                "that a curriculum could follow.\nGive more --epochs or --steps, or more pairs."
            )


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Batch number ``batch`` of epoch number ``epoch``, both counted from 0."""

    span: TrainingLength
    epoch: int
    batch: int = 0

    @property
    def by_epoch(self) -> float:
        """Share of the epochs that are done when this one is: (epoch + 1) / epochs, at most 1."""
        return min(1.0, (self.epoch + 1) / self.span.epochs)

    @property
    def by_batch(self) -> float:
        """Share of the batches that are done when this one is, at most 1."""
        done = self.epoch * self.span.batches + self.batch + 1
        return min(1.0, done / (self.span.epochs * self.span.batches))

    def stage(self, page: Any, config: Any, seed: int) -> Any:
        """The Config of a page with a curriculum for this batch; of other pages, ``config``.

        What it draws depends on the training's ``seed`` and the batch alone.
        """
        if not hasattr(page, "staged"):
            return config
        rng = np.random.default_rng((seed, self.epoch, self.batch, OF_THE_BATCH))
        return page.staged(config, self, rng)
