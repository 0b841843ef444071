"""Styles: what makes one town differ from another as cities do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crossview.errors import UnknownName

Range = tuple[float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Style:
    """Ranges that a town of this style draws from; lengths in metres, shares in 0..1."""

    streets: Literal["grid", "cells"]
    block_m: Range  # distance between streets
    street_half_m: Range
    avenue_share: float  # streets half as wide again
    merge_share: float  # street pieces left out, so that blocks join (grid only)
    bend_m: float  # how far streets wander from straight
    setback_m: Range  # front of a building behind the pavement
    width_m: Range
    depth_m: Range
    gap_m: float  # free space around a building
    storeys: Range
    attempts_per_ha: int  # density of building
    pitched_share: float
    roofs: tuple[Colour, ...]
    walls: tuple[Colour, ...]
    trees_per_ha: float
    street_trees_per_ha: float
    cars_per_ha: float
    green_yard_share: float
    open_blocks: dict[str, float]  # land use -> share of blocks; the rest is built


TILES: tuple[Colour, ...] = ((150, 82, 62), (128, 70, 58), (168, 104, 78), (116, 88, 80))
FLAT: tuple[Colour, ...] = ((150, 150, 148), (112, 112, 116), (188, 186, 180), (92, 90, 92))
METAL: tuple[Colour, ...] = ((176, 184, 190), (120, 140, 150), (206, 206, 204), (140, 96, 84))
SLATE: tuple[Colour, ...] = ((86, 90, 100), (70, 72, 80), (108, 106, 108), (124, 92, 80))
RENDER: tuple[Colour, ...] = ((222, 208, 176), (206, 186, 150), (226, 222, 212), (196, 160, 128))
BRICK: tuple[Colour, ...] = ((150, 86, 70), (168, 110, 88), (124, 76, 66), (190, 150, 120))
MODERN: tuple[Colour, ...] = ((200, 202, 204), (150, 156, 162), (110, 120, 130), (226, 224, 218))
PAINTED: tuple[Colour, ...] = ((232, 226, 206), (178, 200, 210), (208, 180, 170), (196, 206, 176))

STYLES: dict[str, Style] = {
    "blocks": Style(
        streets="grid", block_m=(62, 128), street_half_m=(5.5, 8.0), avenue_share=0.25,
        merge_share=0.12, bend_m=2.0, setback_m=(0.0, 3.0), width_m=(14, 36), depth_m=(14, 26),
        gap_m=0.0, storeys=(2, 9), attempts_per_ha=260, pitched_share=0.08, roofs=FLAT,
        walls=BRICK + MODERN, trees_per_ha=4, street_trees_per_ha=10, cars_per_ha=16,
        green_yard_share=0.2, open_blocks={"park": 0.06, "parking": 0.07, "plaza": 0.05},
    ),
    "old": Style(
        streets="cells", block_m=(52, 84), street_half_m=(3.2, 5.0), avenue_share=0.15,
        merge_share=0.0, bend_m=9.0, setback_m=(0.0, 0.6), width_m=(8, 18), depth_m=(9, 15),
        gap_m=0.0, storeys=(2, 5), attempts_per_ha=420, pitched_share=0.9, roofs=TILES,
        walls=RENDER, trees_per_ha=8, street_trees_per_ha=2, cars_per_ha=9,
        green_yard_share=0.6, open_blocks={"plaza": 0.08, "park": 0.05},
    ),
    "suburb": Style(
        streets="grid", block_m=(58, 104), street_half_m=(3.8, 5.2), avenue_share=0.1,
        merge_share=0.22, bend_m=26.0, setback_m=(4.0, 8.0), width_m=(9, 16), depth_m=(8, 12),
        gap_m=2.5, storeys=(1, 2.4), attempts_per_ha=160, pitched_share=0.95, roofs=TILES + SLATE,
        walls=PAINTED + BRICK, trees_per_ha=26, street_trees_per_ha=6, cars_per_ha=10,
        green_yard_share=1.0, open_blocks={"park": 0.06, "sport": 0.03, "water": 0.02},
    ),
    "slabs": Style(
        streets="grid", block_m=(110, 190), street_half_m=(6.0, 9.0), avenue_share=0.3,
        merge_share=0.1, bend_m=8.0, setback_m=(5.0, 22.0), width_m=(40, 85), depth_m=(10, 14),
        gap_m=9.0, storeys=(4, 10), attempts_per_ha=90, pitched_share=0.0, roofs=FLAT,
        walls=MODERN + PAINTED, trees_per_ha=20, street_trees_per_ha=6, cars_per_ha=14,
        green_yard_share=0.9, open_blocks={"park": 0.08, "parking": 0.1, "sport": 0.06},
    ),
    "works": Style(
        streets="grid", block_m=(95, 165), street_half_m=(5.5, 8.0), avenue_share=0.2,
        merge_share=0.2, bend_m=4.0, setback_m=(4.0, 14.0), width_m=(24, 70), depth_m=(20, 44),
        gap_m=5.0, storeys=(1.6, 4), attempts_per_ha=90, pitched_share=0.3, roofs=METAL + FLAT,
        walls=MODERN + BRICK, trees_per_ha=6, street_trees_per_ha=3, cars_per_ha=12,
        green_yard_share=0.3, open_blocks={"parking": 0.14, "water": 0.07, "gravel": 0.08},
    ),
    "terraces": Style(
        streets="grid", block_m=(44, 70), street_half_m=(4.0, 5.5), avenue_share=0.15,
        merge_share=0.3, bend_m=12.0, setback_m=(1.5, 3.0), width_m=(16, 44), depth_m=(8, 10),
        gap_m=0.0, storeys=(2, 3.2), attempts_per_ha=260, pitched_share=0.97, roofs=SLATE + TILES,
        walls=BRICK, trees_per_ha=14, street_trees_per_ha=5, cars_per_ha=20,
        green_yard_share=1.0, open_blocks={"park": 0.05, "sport": 0.02, "parking": 0.03},
    ),
    "canals": Style(
        streets="cells", block_m=(70, 110), street_half_m=(4.5, 9.5), avenue_share=0.35,
        merge_share=0.0, bend_m=5.0, setback_m=(0.0, 1.5), width_m=(7, 16), depth_m=(10, 16),
        gap_m=0.0, storeys=(2.5, 5.5), attempts_per_ha=360, pitched_share=0.75,
        roofs=SLATE + TILES + FLAT, walls=BRICK + RENDER, trees_per_ha=8, street_trees_per_ha=14,
        cars_per_ha=10, green_yard_share=0.8, open_blocks={"water": 0.12, "park": 0.05,
        "plaza": 0.04},
    ),
}  # fmt: skip

UNSEEN_STYLE = "canals"  # never trained on by the packaged model: the cross-area case
SEEN_STYLES = tuple(name for name in STYLES if name != UNSEEN_STYLE)


def find_style(name: str) -> Style:
    """The style called ``name``; UnknownName suggests the nearest name."""
    if name not in STYLES:
        raise UnknownName("style", name, STYLES)
    return STYLES[name]
