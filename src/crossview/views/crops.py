"""What a picture of a limited field of view shows: every crop in the package is made here.

Training, validation, mining, studies, evaluate and explain cut panoramas with :func:`crop_view`.
``locate`` lays photos out with :func:`lay_out`, in the same columns. The rules:

* A field of view of theta degrees keeps ``ViewSpec.columns(theta)`` whole columns: theta / 360 of
  the width, truncated, at least 1 (as SinGeo, Chen et al., CVPR 2026, and ConGeo, Mi et al., ECCV
  2024, do). Rows are never cut; columns go on at the other edge of the panorama.
* The heading is the azimuth of the middle of what is kept, clockwise from the middle of the canvas.
  It is met to the nearest position of whole columns; of two that are equally near, the left one.
* "narrow" keeps these columns alone. "padded" lays w of them in the middle of a canvas of the full
  width W, from column (W - w) // 2 on; the rest has the mean colour.

Only a perspective photo loses rows as well: it shows what a pinhole camera sees
(:func:`compute_visible_mask`).

Aerial pictures are turned as SinGeo's satellite positives T_s1, T_s2 and T_s3 (Chen et al., CVPR
2026). The picture is square and centred; ``side_px`` is its footprint if it is larger than that.
Deviation: the authors' code of T_s2 turns about the middle of a canvas in whose corner the picture
lies, so that it leaves the middle; here everything turns about the centre, and what lies beyond the
footprint fills the corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossview.arrays import F32, F64, I64, U8, Bool
from crossview.errors import require
from crossview.views.lens import FLAT_LIMIT_DEG, Kind, Lens, find_visible
from crossview.views.spec import ViewSpec, count_columns

RANDOM_FOV_DEG = 361.0  # in the authors' code of SinGeo: each picture draws its own field of view
_RANDOM_FROM_DEG, _RANDOM_TO_DEG = 180, 360
_LEAST_COLUMN = 1e-6  # of a column: the rounding error of angles


@dataclass(frozen=True, kw_only=True, eq=False)
class CroppedView:
    """The part of a picture that a limited field of view keeps.

    ``pixels`` [h, w, 3]: w = ``spec.columns(fov_deg)`` ("narrow") or ``spec.width_px`` ("padded").
    ``mask`` [h, w]: True where they are the picture's, False where they have the mean colour.
    ``fov_deg``: the field of view that is shown. ``heading_deg``: azimuth of the middle of what is
    shown, clockwise from the middle of the picture it was cut from, in [-180, 180).
    """

    pixels: U8
    mask: Bool
    fov_deg: float
    heading_deg: float


class Sector(NamedTuple):
    """Columns [w] kept of a panorama from left to right, and the azimuth of their middle.

    ``heading_deg``: clockwise from the panorama's own middle, in [-180, 180).
    """

    columns: I64
    heading_deg: float


def crop_view(  # noqa: PLR0913 - all that a crop depends on
    canvas: U8,
    spec: ViewSpec,
    fov_deg: float,
    heading_deg: float = 0.0,
    *,
    has_deg: float = 360.0,
    kind: Kind = "panorama",
    aspect: float = math.nan,
    pitch_deg: float = 0.0,
    first_px: int | None = None,
) -> CroppedView:
    """Crop a picture to what a model sees of it at ``fov_deg``, in (0, 360].

    ``canvas`` [h, w', 3] is the uncut ground view of ``spec``, which spans ``has_deg``.
    A panorama (360 degrees, w' = ``spec.width_px``) is cut at ``heading_deg``. A photo is never
    turned: it keeps its middle columns if it spans more than ``fov_deg``; if it spans less, or the
    span is unknown (NaN), it stays as it is.

    ``kind`` "perspective": as a pinhole camera would see the panorama, whose photo is ``aspect``
    times as wide as high (required), turned up by ``pitch_deg``; its rows are cut too. ``first_px``
    ("padded"): the column of the canvas at which the kept ones begin; by default they are in its
    middle. They may go on at its other edge.

    Raises InvalidValue for a field of view outside (0, 360], and for a panorama of another width.
    """
    if not has_deg >= 360.0:
        return _crop_photo(canvas, spec, fov_deg, has_deg)
    width = canvas.shape[1]
    require(
        width == spec.width_px,
        f"a panorama of {width} columns does not fit a view {spec.width_px} columns wide.",
    )
    kept = find_sector(width, fov_deg, heading_deg)
    if kind == "perspective":
        return _crop_through_pinhole(canvas, spec, kept, fov_deg, (aspect, pitch_deg))
    strip = np.take(canvas, kept.columns, axis=1)
    return CroppedView(
        pixels=lay_out(strip, spec, spec.mean_colour, first_px),
        mask=lay_out(np.ones(strip.shape[:2], dtype=bool), spec, False, first_px),
        fov_deg=fov_deg,
        heading_deg=kept.heading_deg,
    )


def crop_as_photo(
    canvas: U8,
    spec: ViewSpec,
    fov_deg: float,
    aspect: float,
    *,
    pitch_deg: float = 0.0,
    horizon_known: bool = True,
) -> U8:
    """Crop a panorama's canvas to a photo of this field of view and aspect (width / height).

    The middle is kept, the rest gets the mean colour (``views.crops``). A camera that points up by
    ``pitch_deg`` sees higher parts; if its horizon is not known, they are laid out as if it were
    level, that is, too low.
    """
    if not horizon_known:
        bottom, top = spec.required_elevation_deg
        canvas = np.roll(canvas, round(pitch_deg * spec.height_px / (top - bottom)), axis=0)
        pitch_deg = 0.0
    crop = crop_view(canvas, spec, fov_deg, kind="perspective", aspect=aspect, pitch_deg=pitch_deg)
    return crop.pixels


def draw_fov(theta_deg: float, rng: np.random.Generator) -> float:
    """``theta_deg``, or whole degrees drawn from 180 to 360 where it is ``RANDOM_FOV_DEG``."""
    if theta_deg != RANDOM_FOV_DEG:
        return theta_deg
    return float(rng.integers(_RANDOM_FROM_DEG, _RANDOM_TO_DEG + 1))


def find_least_fov(theta_deg: float) -> float:
    """The narrowest field of view that :func:`draw_fov` draws for ``theta_deg``."""
    return float(_RANDOM_FROM_DEG) if theta_deg == RANDOM_FOV_DEG else theta_deg


def find_sector(width: int, fov_deg: float, heading_deg: float) -> Sector:
    """The columns that a field of view about a heading keeps of a panorama ``width`` wide."""
    kept = count_columns(width, fov_deg)
    first = math.ceil(heading_deg / 360.0 * width + (width - kept) / 2.0 - 0.5 - _LEAST_COLUMN)
    return _make_sector(width, first, kept)


def find_authors_sector(width: int, fov_deg: float, angle_deg: float) -> Sector:
    """The columns that the authors of SinGeo and ConGeo keep for an angle that they draw.

    They shift the panorama right by ``angle_deg``, truncated to whole columns, and keep the first
    ones. :func:`find_sector` finds the same columns by the heading that is returned.
    """
    first = width - int(angle_deg / 360.0 * width)
    return _make_sector(width, first, count_columns(width, fov_deg))


def lay_out(
    strip: NDArray[Any], spec: ViewSpec, fill: ArrayLike, first_px: int | None = None
) -> NDArray[Any]:
    """Lay kept columns [h, w, ...] out as ``spec`` says: "narrow" unchanged, "padded" [h, W, ...].

    ``fill``: the value of the rest of the canvas. ``first_px``: see :func:`crop_view`.
    """
    width, kept = spec.width_px, strip.shape[1]
    if spec.representation == "narrow":
        return strip
    first = (width - kept) // 2 if first_px is None else first_px
    canvas = np.empty((strip.shape[0], width, *strip.shape[2:]), strip.dtype)
    canvas[:] = np.asarray(fill, strip.dtype)
    canvas[:, (first + np.arange(kept)) % width] = strip
    return canvas


def compute_visible_mask(
    spec: ViewSpec, fov_deg: float, aspect: float, pitch_deg: float = 0.0
) -> Bool:
    """Which pixels [h, W] of the full 360-degree canvas a photo covers.

    The photo is ``fov_deg`` wide, ``aspect`` times as wide as high, and points ``pitch_deg`` up;
    its middle is in the middle of the canvas. Up to 170 degrees it covers the pixels whose centres
    lie within the pinhole's rectangle. Beyond, it is a band of equal angles: whole columns, and
    the rows whose centres lie within it.
    """
    lens = Lens(fov_deg <= FLAT_LIMIT_DEG, fov_deg, aspect, pitch_deg)
    if lens.flat:
        return find_visible(*lens.locate(*compute_angles(spec, spec.width_px)))
    band = find_visible(*lens.locate(*compute_angles(spec, spec.columns(fov_deg))))
    first = (spec.width_px - band.shape[1]) // 2
    mask = np.zeros((spec.height_px, spec.width_px), dtype=bool)
    mask[:, first : first + band.shape[1]] = band
    return mask


@lru_cache(maxsize=32)
def compute_angles(spec: ViewSpec, columns: int, fine: int = 1) -> tuple[F32, F32]:
    """Azimuths [1, columns * fine] and elevations [h * fine, 1] of pixel centres in degrees.

    Of ``columns`` columns of the canvas, with azimuths from their middle; each pixel is divided
    into ``fine`` x ``fine``.
    """
    bottom, top = spec.required_elevation_deg
    across = np.arange(columns * fine) + 0.5 - columns * fine / 2.0
    down = (np.arange(spec.height_px * fine) + 0.5) / (spec.height_px * fine)
    azimuth = (across * 360.0 / (spec.width_px * fine)).astype(np.float32)[None, :]
    elevation = (top - down * (top - bottom)).astype(np.float32)[:, None]
    return azimuth, elevation


def compute_bin_coverage(fov_deg: ArrayLike, bins: int, middle_deg: ArrayLike = 0.0) -> F32:
    """Share in [0, 1] of each azimuth bin [..., bins] that pictures of ``fov_deg`` [...] cover.

    Bin j covers 360 j / bins - 180 to 360 (j + 1) / bins - 180 degrees from the canvas's middle;
    the picture's lies at ``middle_deg`` [...] of the canvas, in [-180, 180].
    """
    edges = np.arange(bins + 1) * 360.0 / bins - 180.0
    half = np.asarray(fov_deg, np.float64)[..., None] / 2.0
    middle = np.asarray(middle_deg, np.float64)[..., None]
    overlap = sum(
        np.maximum(
            np.minimum(edges[1:], middle + half + around)
            - np.maximum(edges[:-1], middle - half + around),
            0.0,
        )
        for around in (0.0, -360.0, 360.0)
    )
    shares: F32 = np.clip(overlap * bins / 360.0, 0.0, 1.0).astype(np.float32)
    return shares


def _make_sector(width: int, first: int, kept: int) -> Sector:
    middle = 360.0 * (first + kept / 2.0) / width
    return Sector((first + np.arange(kept)) % width, middle % 360.0 - 180.0)


def _crop_photo(canvas: U8, spec: ViewSpec, fov_deg: float, has_deg: float) -> CroppedView:
    """Crop to the middle of a photo's canvas, or keep all of it."""
    width = canvas.shape[1]
    if not has_deg > fov_deg:
        seen = np.ones(canvas.shape[:2], dtype=bool)
        fov = fov_deg if math.isnan(has_deg) else has_deg
        return CroppedView(pixels=canvas, mask=seen, fov_deg=fov, heading_deg=0.0)
    # A whole file fills its canvas however many degrees it shows; else columns are degrees.
    kept = count_columns(width, 360.0 * fov_deg / has_deg) if spec.whole else spec.columns(fov_deg)
    first = (width - min(kept, width)) // 2
    strip = canvas[:, first : first + kept]
    return CroppedView(
        pixels=lay_out(strip, spec, spec.mean_colour),
        mask=lay_out(np.ones(strip.shape[:2], dtype=bool), spec, False),
        fov_deg=fov_deg,
        heading_deg=0.0,
    )


def _crop_through_pinhole(
    canvas: U8, spec: ViewSpec, kept: Sector, fov_deg: float, shape: tuple[float, float]
) -> CroppedView:
    """Turn the canvas until the kept columns are in its middle; keep what a pinhole sees of it."""
    width = spec.width_px
    first = (width - len(kept.columns)) // 2
    turned = np.roll(canvas, first - int(kept.columns[0]), axis=1)
    mask = compute_visible_mask(spec, fov_deg, *shape)
    pixels = np.where(mask[..., None], turned, np.array(spec.mean_colour, np.uint8))
    if spec.representation == "narrow":
        middle = slice(first, first + len(kept.columns))
        pixels, mask = pixels[:, middle], mask[:, middle]
    turn_deg = (kept.columns[0] - first) * 360.0 / width
    heading = (turn_deg + 180.0) % 360.0 - 180.0
    return CroppedView(pixels=pixels, mask=mask, fov_deg=fov_deg, heading_deg=float(heading))


def turn_circle(image: U8, angle_deg: float, side_px: float) -> U8:
    """T_s1: blacken all outside the footprint's inscribed circle, then turn by the angle."""
    height, width = image.shape[:2]
    down, right = np.ogrid[:height, :width]
    outside = np.hypot(down - (height - 1) / 2, right - (width - 1) / 2) > side_px // 2
    return turn_image(np.where(outside[..., None], 0, image).astype(np.uint8), angle_deg)


def turn_image(image: U8, angle_deg: float) -> U8:
    """T_s2: turn counter-clockwise by any angle about the centre, bilinear, same size.

    Corners that the picture does not reach are black.
    """
    import cv2

    height, width = image.shape[:2]
    centre = ((width - 1) / 2.0, (height - 1) / 2.0)
    matrix = cv2.getRotationMatrix2D(centre, angle_deg, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR))


def choose_quarter_turns(keep: float, draw: float, half_turns: bool = False) -> int:
    """T_s3: how many quarters to turn counter-clockwise, for ``draw`` uniform in [0, 1).

    None below ``keep``; the rest is shared equally by clockwise (-1) and counter-clockwise (1), as
    in the authors' code, or by these and the half turn, as in the paper.
    """
    require(0.0 <= keep <= 1.0, f"keep must be a probability, got {keep}.")
    if draw < keep:
        return 0
    turns = (-1, 2, 1) if half_turns else (-1, 1)
    return turns[min(int((draw - keep) / (1.0 - keep) * len(turns)), len(turns) - 1)]


def turn_quarters(image: NDArray[Any], quarters: int) -> NDArray[Any]:
    """Turn a picture [S, S, C] by quarters counter-clockwise: pixels only change places."""
    import cv2

    codes = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
    if quarters % 4 == 0:
        return np.ascontiguousarray(image)
    return np.asarray(cv2.rotate(image, codes[quarters % 4 - 1]), dtype=image.dtype)


def count_spare_px(aerial: U8, metres_per_px: float, footprint_m: float) -> I64:
    """Rows and columns [2] that an aerial picture has beyond its footprint."""
    side = min(round(footprint_m / metres_per_px) + 2, *aerial.shape[:2])
    spare: I64 = np.array(aerial.shape[:2]) - side
    return spare


def cut_window(aerial: U8, spare_px: I64, shift_px: F64) -> U8:
    """Cut a window that leaves ``spare_px`` over, its centre moved by (rows, columns)."""
    top, left = np.round(spare_px / 2 + shift_px).astype(int)
    height, width = np.array(aerial.shape[:2]) - spare_px
    return aerial[top : top + height, left : left + width]
