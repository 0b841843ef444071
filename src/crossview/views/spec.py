"""ViewSpec: exactly what one branch of a model sees."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval

from crossview.errors import BadModel, require

Side = Literal["ground", "aerial"]
Representation = Literal["narrow", "padded", "letterbox"]
Pixels = Annotated[int, Interval(ge=1, le=16_384)]  # of a view's side, where it is read
Resize = Literal["area", "linear", "linear-antialias"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)  # mean and spread of pixels between -1 and 1


_NO_COLUMN = 1e-9  # columns; a product of angles that is a whole number may come out below it


def count_columns(width: int, fov_deg: float) -> int:
    """How many of ``width`` columns, which span 360 degrees, a field of view fills: whole ones.

    ``fov_deg`` / 360 of them, truncated, at least 1. Raises InvalidValue outside (0, 360].
    """
    require(0.0 < fov_deg <= 360.0, f"a field of view must lie in (0, 360], got {fov_deg}.")
    return max(1, int(width * fov_deg / 360.0 + _NO_COLUMN))


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """Size, angles and preprocessing of one side. Images are RGB uint8 until the network.

    Ground: an equirectangular strip. ``width_px`` columns span 360 degrees; column c looks at
    azimuth 360 * (c + 0.5) / width_px - 180, clockwise from the middle of the strip. Rows span
    ``elevation_deg`` (bottom, top) in equal angles. A limited field of view keeps its columns
    (``narrow``) or sits in the middle of the full canvas, the rest in the mean colour (``padded``).

    Aerial: a square window of ``footprint_m`` metres, up = north; with ``polar`` it is unrolled
    about its centre: columns as on the ground side, the bottom row at the centre, the top row at
    half the footprint (Shi et al., SAFA, NeurIPS 2019, use the same orientation of rows).

    ``letterbox``: the photo itself, scaled to fit into the canvas and black around it, whatever
    camera took it (Fervers et al., ECCV 2024); rows and columns are no angles, so
    ``elevation_deg`` is None.

    ``spans_m``: a window is seen at several scales. The view is one square picture for each, so
    many metres across about the window's centre, finest first, one below the other; their up
    points to ``up_bearing_deg`` from true north. ``footprint_m`` is then the ground that the
    window stands for, and what lies beyond the imagery is white.

    ``whole``: pictures of a table of pairs are taken as the papers take them: the file, or its rows
    between the shares ``keep_rows`` of its height, squashed to the canvas by ``resize`` whatever
    angles and metres it spans; with ``polar``, unrolled by the authors' own formula. Which rows of
    a ground file these are is for its data set to say (``pairs.reading``), unless the method takes
    ``all_rows``; here stand those that the model was trained on. A photo to locate and a window to
    index have other frames, and go by ``elevation_deg`` and ``footprint_m``, which are None where
    what the files span is not known.
    """

    side: Side
    height_px: Pixels
    width_px: Pixels
    elevation_deg: tuple[float, float] | None = (-45.0, 45.0)
    representation: Representation = "narrow"
    footprint_m: float | None = 0.0
    polar: bool = False
    resize: Resize = "area"
    whole: bool = False
    keep_rows: tuple[float, float] = (0.0, 1.0)
    all_rows: bool = False
    spans_m: tuple[float, ...] = ()
    up_bearing_deg: float = 0.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        require(
            self.height_px > 0 and self.width_px > 0,
            f"a view needs at least one pixel, got {self.width_px} x {self.height_px}.",
        )
        if self.elevation_deg is None:
            require(
                self.whole or self.representation == "letterbox",
                "elevation_deg may be unknown only where files are taken whole.",
            )
        else:
            bottom, top = self.elevation_deg
            require(
                -90.0 <= bottom < top <= 90.0,
                f"elevation_deg must be (bottom, top) within [-90, 90], got ({bottom}, {top}).",
            )
        require_rows(self.keep_rows)
        if self.footprint_m is None:
            require(self.whole, "footprint_m may be unknown only where files are taken whole.")
        elif self.side == "aerial":
            require(self.footprint_m > 0.0, f"footprint_m must be > 0, got {self.footprint_m}.")
        if self.spans_m:
            self._require_spans()

    def _require_spans(self) -> None:
        spans = self.spans_m
        require(
            spans[0] > 0.0 and list(spans) == sorted(set(spans)) and math.isfinite(spans[-1]),
            f"spans_m must be metres above 0, finest first, got {spans}.",
        )
        require(
            self.side == "aerial" and not self.polar and not self.whole,
            "spans_m are of windows from above that are neither unrolled nor whole files.",
        )
        require(
            self.height_px == len(spans) * self.width_px,
            f"{len(spans)} squares of {self.width_px} pixels, one below the other, need "
            f"height_px {len(spans) * self.width_px}, got {self.height_px}.",
        )

    @property
    def metres_per_px(self) -> float:
        """Ground metres per pixel of an aerial view (along the radius, if polar); or BadModel.

        Of several scales the finest.
        """
        if self.spans_m:
            return self.spans_m[0] / self.width_px
        across = 2 * self.height_px if self.polar else self.width_px
        return self.required_footprint_m / across

    @property
    def required_footprint_m(self) -> float:
        """``footprint_m``; BadModel where it is not known."""
        if self.footprint_m is None:
            raise BadModel(
                "How many metres the model's aerial pictures span is not known: its training data "
                "does not say.\nIt can be evaluated on pairs; to cut windows for it, give the "
                "metres yourself: crossview index --footprint METRES."
            )
        return self.footprint_m

    @property
    def required_elevation_deg(self) -> tuple[float, float]:
        """``elevation_deg``; BadModel where it is not known."""
        if self.elevation_deg is None:
            raise BadModel(
                "Which angles the model's ground pictures span is not known: its training data "
                "does not say.\nIt can be evaluated on pairs, but a photo cannot be laid out for "
                "it: train on panoramas, or with --config whole=false."
            )
        return self.elevation_deg

    @property
    def mean_colour(self) -> tuple[int, int, int]:
        """The colour of unseen pixels, 0..255: what normalisation maps to (almost) zero."""
        r, g, b = (round(255 * m) for m in self.mean)
        return r, g, b

    def columns(self, fov_deg: float) -> int:
        """How many whole columns a field of view of ``fov_deg`` in (0, 360] degrees fills."""
        return count_columns(self.width_px, fov_deg)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``whole`` and ``keep_rows`` only where they say something.

        Without that, the fingerprints of models that were made before them would change.
        """
        values = self.facts()
        if not self.whole:
            del values["whole"], values["keep_rows"]
        return values

    def facts(self) -> dict[str, Any]:
        """All fields as JSON values, ``all_rows`` only where ``resize`` does not imply it.

        Models that were made before that field took all rows if they resize as Sample4Geo does;
        what they say, and so their fingerprint, stays the same.
        """
        values = asdict(self)
        if not self.spans_m:  # as all_rows: models of before say nothing of it
            del values["spans_m"], values["up_bearing_deg"]
        if self.all_rows == implies_all_rows(self.whole, self.resize):
            del values["all_rows"]
        return values


def require_rows(rows: tuple[float, float]) -> None:
    """InvalidValue unless ``rows`` are two shares of a height, the first above the second."""
    first, last = rows
    require(
        0.0 <= first < last <= 1.0,
        f"keep_rows must be (from, to) within [0, 1], got ({first}, {last}).",
    )


def implies_all_rows(whole: bool, resize: str) -> bool:
    """Whether a view that does not say so takes all rows: whole files resized as Sample4Geo's."""
    return whole and resize == "linear"
