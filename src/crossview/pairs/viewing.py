"""Pairs whose aerial picture is the finished view, and pairs that fit a polar view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from crossview.errors import InvalidValue
from crossview.geo.points import distances_between_m
from crossview.pairs.batch import PairPixels, Views
from crossview.pairs.table import PairTable
from crossview.views.aerial import aerial_view
from crossview.views.spec import IMAGENET_MEAN, IMAGENET_STD, ViewSpec

Rgb = tuple[float, float, float]


class Aligned(Protocol):
    """The settings of a method that shows whole panoramas and aerial windows, both north up."""

    @property
    def ground_px(self) -> tuple[int, int]:
        """Height and width of the panorama."""

    @property
    def aerial_px(self) -> tuple[int, int]:
        """Height and width of the aerial view."""

    @property
    def elevation_deg(self) -> tuple[float, float]:
        """Bottom and top of the panorama, unless ``whole``."""

    @property
    def footprint_m(self) -> float:
        """Side of the aerial window, unless ``whole``."""

    @property
    def polar(self) -> bool:
        """Whether it is unrolled."""

    @property
    def whole(self) -> bool:
        """Whether files are squashed to the views' sizes, whatever they span (``ViewSpec``)."""


OFF_CENTRE = 0.1  # of the footprint: farther from the middle, unrolled columns are no bearings
ASKED = 2000  # rows that the check looks at


def aligned_views(config: Aligned, *, mean: Rgb = IMAGENET_MEAN, std: Rgb = IMAGENET_STD) -> Views:
    """Panoramas of known heading on a padded canvas, and windows, unrolled or as they are.

    What whole files span is for their data set to say (``pairs.framing``).
    """
    ground = ViewSpec(
        side="ground",
        height_px=config.ground_px[0],
        width_px=config.ground_px[1],
        elevation_deg=None if config.whole else config.elevation_deg,
        representation="padded",
        resize="linear-antialias",
        whole=config.whole,
        mean=mean,
        std=std,
    )
    aerial = ViewSpec(
        side="aerial",
        height_px=config.aerial_px[0],
        width_px=config.aerial_px[1],
        footprint_m=None if config.whole else config.footprint_m,
        polar=config.polar,
        resize="linear-antialias",
        whole=config.whole,
        mean=mean,
        std=std,
    )
    return Views(ground=ground, aerial=aerial, headings_seen="aligned")


def viewed(pair: PairPixels, spec: ViewSpec) -> PairPixels:
    """The pair with its aerial picture cut to ``spec`` and resized or unrolled."""
    if pair.viewed or spec.whole:
        return replace(pair, viewed=True)
    return replace(pair, aerial=aerial_view(pair.aerial, pair.metres_per_px, spec), viewed=True)


def check_centred(table: PairTable, config: Any) -> None:
    """Pairs for a page whose Config says ``polar``: as :func:`require_centred`."""
    if config.polar:
        framed_m = table.framing.footprint_m if config.whole else None
        require_centred(table, framed_m or config.footprint_m)


def require_centred(table: PairTable, footprint_m: float) -> None:
    """InvalidValue if the cameras do not stand in the middle of their aerial pictures.

    Judged by the median distance of the first rows where both places are known.
    """
    ground = table.ground_latlon[table.pairs[:ASKED, 0]]
    aerial = table.aerial_latlon[table.pairs[:ASKED, 1]]
    known = np.isfinite(ground).all(axis=1) & np.isfinite(aerial).all(axis=1)
    away = distances_between_m(ground[known], aerial[known])
    if len(away) and (middle := float(np.median(away))) > OFF_CENTRE * footprint_m:
        raise InvalidValue(
            f"polar=true unrolls aerial pictures about the camera, but in these pairs it stands "
            f"{middle:.0f} m from the middle (median), as in VIGOR.\n"
            "Use --config polar=false and a square aerial_px, such as --config aerial_px=[320,320]."
        )
