"""ViewSpec: exactly what one branch of a model sees."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from crossview.errors import BadModel, require

Side = Literal["ground", "aerial"]
Representation = Literal["narrow", "padded"]
Resize = Literal["area", "linear", "linear-antialias"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


_NO_COLUMN = 1e-9  # columns; a product of angles that is a whole number may come out below it


def whole_columns(width: int, fov_deg: float) -> int:
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

    ``whole``: pictures of a table of pairs are taken as the papers take them: the file, or its rows
    between the shares ``keep_rows`` of its height, squashed to the canvas by ``resize`` whatever
    angles and metres it spans; with ``polar``, unrolled by the authors' own formula. A photo to
    locate and a window to index have other frames, and go by ``elevation_deg`` and ``footprint_m``.
    """

    side: Side
    height_px: int
    width_px: int
    elevation_deg: tuple[float, float] = (-45.0, 45.0)
    representation: Representation = "narrow"
    footprint_m: float = 0.0
    polar: bool = False
    resize: Resize = "area"
    whole: bool = False
    keep_rows: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        require(
            self.height_px > 0 and self.width_px > 0,
            f"a view needs at least one pixel, got {self.width_px} x {self.height_px}.",
        )
        bottom, top = self.elevation_deg
        require(
            -90.0 <= bottom < top <= 90.0,
            f"elevation_deg must be (bottom, top) within [-90, 90], got ({bottom}, {top}).",
        )
        first, last = self.keep_rows
        require(
            0.0 <= first < last <= 1.0,
            f"keep_rows must be (from, to) within [0, 1], got ({first}, {last}).",
        )
        if self.side == "aerial":
            require(self.footprint_m > 0.0, f"footprint_m must be > 0, got {self.footprint_m}.")

    @property
    def metres_per_px(self) -> float:
        """Ground metres per pixel of an aerial view (along the radius, if polar)."""
        across = 2 * self.height_px if self.polar else self.width_px
        return self.footprint_m / across

    @property
    def mean_colour(self) -> tuple[int, int, int]:
        """The colour of unseen pixels, 0..255: what normalisation maps to (almost) zero."""
        r, g, b = (round(255 * m) for m in self.mean)
        return r, g, b

    def columns(self, fov_deg: float) -> int:
        """How many whole columns a field of view of ``fov_deg`` in (0, 360] degrees fills."""
        return whole_columns(self.width_px, fov_deg)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``whole`` and ``keep_rows`` only where they say something.

        Without that, the fingerprints of models that were made before them would change.
        """
        values = asdict(self)
        if not self.whole:
            del values["whole"], values["keep_rows"]
        return values

    @staticmethod
    def from_json(values: dict[str, Any]) -> ViewSpec:
        """The inverse of :meth:`to_json`; unknown or missing entries are refused."""
        known = {f.name for f in fields(ViewSpec)}
        if unknown := sorted(set(values) - known):
            raise BadModel(
                f"view has unknown entries {unknown}; a newer crossview may have made it."
            )
        tuples: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        try:
            return ViewSpec(**tuples)
        except (TypeError, ValueError) as problem:
            raise BadModel(f"view cannot be read: {problem}") from problem
