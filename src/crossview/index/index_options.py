"""What an index is to be: windows, permissions, and whether model and imagery allow it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from crossview.errors import SyntheticModel, TooCoarse, UsageError, require
from crossview.geo.points import LatLon
from crossview.imagery.provenance import ImageryInfo, compute_signature
from crossview.imagery.windows import Tiling
from crossview.index.store import SEGMENT_FORMAT, THUMBNAIL_PX
from crossview.model import OF_EARTH, OF_TOWNS, ModelInfo, list_packaged_models
from crossview.runtime import YARDSTICK, Arithmetic
from crossview.views.spec import ViewSpec

STRIDES_PER_FOOTPRINT = 4  # 20 m for a footprint of 80 m: a pin is 14 m off at most
FIRST_BATCHES = 8  # in the first segment of a run
FINEST_STRIDE_M = 0.1
CELLS_TOGETHER = 2  # windows of several scales in a batch: each takes seconds of a processor
COARSEST = 2.0  # times the model's metres per pixel
COARSER = 1.05  # times the coarsest that it was trained on: projections stretch by a little


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How to index. None means: from the model.

    Segments hold whole batches, so that a killed and resumed run sees the same batches. They grow
    from a few batches to ``segment_windows``: early work is soon safe, large indexes have few
    files.
    """

    footprint_m: float | None = None
    stride_m: float | None = None
    near: LatLon | None = None
    within_m: float = 0.0
    allow_coarse: bool = False
    demo_only: bool = False
    heights: str | Path | None = None  # a raster of them, which the index is to know
    model_name: str = ""  # how locate finds the model again: a packaged name or a folder
    runtime: str = YARDSTICK.runtime  # of a model that is not open yet
    precision: str = YARDSTICK.precision
    restart: bool = False
    overwrite: bool = False
    replace: bool = False  # as overwrite, and what would be made again is kept
    batch: int = 16
    segment_windows: int = 2048

    def __post_init__(self) -> None:
        footprint_m, stride_m = self.footprint_m, self.stride_m
        require(
            footprint_m is None or 0.0 < footprint_m < math.inf,
            f"--footprint {footprint_m}: give metres.",
        )
        require(
            stride_m is None or FINEST_STRIDE_M <= stride_m < math.inf,
            f"--stride {stride_m}: give metres, {FINEST_STRIDE_M} or more.",
        )
        require(self.batch > 0, f"batch must be > 0, got {self.batch}.")
        require(
            self.segment_windows % self.batch == 0,
            f"a segment of {self.segment_windows} windows is not a whole number of batches "
            f"of {self.batch}.",
        )
        require(self.within_m < math.inf, f"--within {self.within_m}: give kilometres.")
        require(
            (self.near is None) == (self.within_m <= 0.0),
            "an area needs both a centre and a radius: --near LAT,LON --within KM.",
        )
        _ = self.arithmetic

    @property
    def arithmetic(self) -> Arithmetic:
        """How the network is computed."""
        return Arithmetic(self.runtime, self.precision)

    @property
    def may_replace(self) -> bool:
        """Whether an index that is there may go."""
        return self.overwrite or self.replace


class BuildValues(TypedDict, total=False):
    """The keywords of ``crossview.build_index``: those of IndexOptions and of SourceOptions."""

    footprint_m: float | None
    stride_m: float | None
    near: Any  # what hints take
    within_m: float
    allow_coarse: bool
    demo_only: bool
    heights: str | Path | None
    runtime: str
    precision: str
    restart: bool
    overwrite: bool
    replace: bool
    bands: tuple[int, ...] | None
    stretch: tuple[float, float] | None
    crs: str | None
    metres_per_px: float | None
    width_m: float | None
    zoom: int | None
    tms: bool | None
    nodata: tuple[float, ...] | None
    allow_vrt: bool | None
    attribution: str | None
    date: str | None


def compute_segment_size(options: IndexOptions, number: int) -> int:
    """Windows of the segment ``number`` (from 0) of a run: twice as many each time."""
    first = options.batch * FIRST_BATCHES
    return min(options.segment_windows, first << min(number, 32))


def choose_default_model(imagery: ImageryInfo) -> str:
    """The packaged model for this imagery: of synthetic towns, or of Earth.

    Raises :class:`UsageError` where the package came without a model of Earth.
    """
    if imagery.synthetic is not None:
        return OF_TOWNS
    if OF_EARTH in list_packaged_models():
        return OF_EARTH
    raise UsageError(
        "Say which model: --model FOLDER. crossview ships none for real photos yet.\n"
        "Train one on your own pairs (crossview train, then crossview export), or try the commands "
        "with --model town --demo-only."
    )


def choose_tiling(model: ModelInfo, options: IndexOptions) -> Tiling:
    """Windows as asked, else the footprint of the model's training and a quarter of it.

    Windows of a model that sees each at several scales lie side by side.
    """
    footprint_m = options.footprint_m
    if footprint_m is None:
        footprint_m = model.aerial.required_footprint_m
    return Tiling(
        footprint_m=footprint_m,
        stride_m=options.stride_m
        or footprint_m / (1 if model.aerial.spans_m else STRIDES_PER_FOOTPRINT),
        near=options.near,
        within_m=options.within_m,
        seen_m=max(model.aerial.spans_m, default=0.0),
    )


def choose_batch(model: ModelInfo, options: IndexOptions) -> IndexOptions:
    """Options with small batches where each window is many pictures, so that work is soon safe."""
    return replace(options, batch=CELLS_TOGETHER) if model.aerial.spans_m else options


def choose_view(model: ModelInfo, tiling: Tiling) -> ViewSpec:
    """The model's aerial view over the chosen footprint."""
    return replace(model.aerial, footprint_m=tiling.footprint_m)


def compute_finest_useful_m(view: ViewSpec) -> float:
    """Ground metres per pixel that are detail enough: half as much again as the model sees."""
    return view.metres_per_px / 1.5


def is_coarse(imagery: ImageryInfo, view: ViewSpec) -> bool:
    """Whether the imagery is coarser than twice the model's metres per pixel."""
    return imagery.metres_per_px > COARSEST * view.metres_per_px


def list_doubts(imagery: ImageryInfo, model: ModelInfo, view: ViewSpec) -> tuple[str, ...]:
    """What of the imagery's scale lies outside of what the model was trained on."""
    seen_m = model.coarsest_imagery_m
    if seen_m == 0.0 or imagery.metres_per_px <= COARSER * seen_m or is_coarse(imagery, view):
        return ()
    return (
        f"the imagery ({imagery.metres_per_px:.3g} m per pixel) is coarser than all that the model "
        f"was trained on ({seen_m:.3g} m)",
    )


def require_allowed(
    imagery: ImageryInfo, model: ModelInfo, view: ViewSpec, options: IndexOptions
) -> None:
    """Raise :class:`SyntheticModel` or :class:`TooCoarse` unless ``options`` allow it."""
    if model.synthetic and imagery.synthetic is None and not options.demo_only:
        instead = "Give a model of your own with --model"
        if OF_EARTH in list_packaged_models():
            instead = f"Give --model {OF_EARTH}, or a model of your own"
        raise SyntheticModel(
            f"The model {model.name!r} knows only the synthetic town; this imagery is not of it.\n"
            f"Its answers about the real world would mean nothing. {instead}, or add "
            "--demo-only to try the commands."
        )
    if is_coarse(imagery, view) and not options.allow_coarse:
        raise TooCoarse(
            f"The imagery has {imagery.metres_per_px:.3g} m per pixel; the model needs "
            f"{COARSEST * view.metres_per_px:.3g} m or finer.\n"
            "Use finer imagery, or add --allow-coarse (the index is marked)."
        )


def collect_settings(
    imagery: ImageryInfo, fingerprint: str, tiling: Tiling, options: IndexOptions
) -> dict[str, Any]:
    """Everything that changes what is written, as JSON: a resumed run must have the same."""
    heights: Mapping[str, str] = {}  # said only where they are given, as before there were any
    if options.heights is not None:
        heights = {"heights": compute_signature([Path(options.heights)])}
    arithmetic: Mapping[str, str] = {}
    if not options.arithmetic.is_yardstick:
        arithmetic = {"arithmetic": str(options.arithmetic)}
    read = json.loads(json.dumps(imagery.to_json()["options"]))  # lists, as they are read again
    return {
        **heights,
        **arithmetic,
        "format_version": SEGMENT_FORMAT,
        "model": fingerprint,
        "imagery": imagery.signature,
        "imagery_options": {k: v for k, v in read.items() if v is not None},
        "footprint_m": tiling.footprint_m,
        "stride_m": tiling.stride_m,
        "near": None if tiling.near is None else str(tiling.near),
        "within_m": tiling.within_m,
        "batch": options.batch,
        "segment_windows": options.segment_windows,
        "thumbnail_px": THUMBNAIL_PX,
    }
