"""Rendering: which stored bands become red, green and blue, and how they become 8 bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.arrays import U8, Bool
from crossview.errors import BadImagery, InvalidValue
from crossview.views.rgb import inverted

Limits = tuple[tuple[float, float], ...]
_MOST = 1e38  # of a float; beyond lie infinities and the values that writers take for no data
USUAL_PERCENTILES = (2.0, 98.0)  # for imagery of more than 8 bit, unless told otherwise


@dataclass(frozen=True)
class Rendering:
    """One or three bands (counted from 1), stretched from ``limits`` to 0..255 unless None.

    ``inverted``: 0 is white. ``bits``: how many of a stored byte are used, unless stretched.
    """

    bands: tuple[int, ...]
    limits: Limits | None = None
    palette: Any = None  # uint8 [256 or 65536, 3] of an indexed raster
    inverted: bool = False
    bits: int = 8

    def rgb(self, stored: NDArray[Any]) -> U8:
        """RGB [h, w, 3] from stored values [bands, h, w]."""
        import cv2

        if self.palette is not None:
            return np.asarray(self.palette[stored[0]], np.uint8)
        planes = stored if self.limits is None else self._stretched(stored, self.limits)
        if self.limits is None and self.bits < 8:
            planes = _eight_bits(self.bits)[stored]
        if self.inverted:
            planes = [inverted(plane, 8) for plane in planes]
        if len(planes) == 1:
            return np.asarray(cv2.cvtColor(planes[0], cv2.COLOR_GRAY2RGB), np.uint8)
        return np.asarray(cv2.merge(list(planes)), np.uint8)

    def _stretched(self, stored: NDArray[Any], limits: Limits) -> Sequence[U8]:
        if stored.dtype in (np.uint8, np.uint16):
            values = np.arange(np.iinfo(stored.dtype).max + 1)
            return [
                _to_bytes(values, limit)[plane] for plane, limit in zip(stored, limits, strict=True)
            ]
        return [_to_bytes(plane, limit) for plane, limit in zip(stored, limits, strict=True)]


def _eight_bits(bits: int) -> U8:
    """Grey levels of fewer bits as 8 bits, white staying white."""
    most = (1 << bits) - 1
    return np.asarray(np.minimum(np.arange(256), most) * 255 // most, np.uint8)


def _to_bytes(values: NDArray[Any], limit: tuple[float, float]) -> U8:
    low, high = limit
    scaled = (values.astype(np.float32) - low) * (255.0 / max(high - low, 1e-12))
    return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0.0, 255.0)), np.uint8)


def chosen_bands(dataset: Any, asked: tuple[int, ...] | None, name: str) -> tuple[int, ...]:
    """One or three band numbers of an open raster: as asked, by their colours, or the first."""
    from rasterio.enums import ColorInterp

    if asked is not None:
        if len(asked) not in (1, 3) or not all(1 <= band <= dataset.count for band in asked):
            raise InvalidValue(
                f"--bands {','.join(map(str, asked))}: {name} has bands 1 to {dataset.count}.\n"
                "Give three for red, green and blue (for example --bands 4,3,2), or one for grey."
            )
        return asked
    colours = list(dataset.colorinterp)
    wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(colour in colours for colour in wanted):
        red, green, blue = (colours.index(colour) + 1 for colour in wanted)
        return red, green, blue
    opaque = [band for band, colour in enumerate(colours, 1) if colour != ColorInterp.alpha]
    return tuple(opaque[:3]) if len(opaque) >= 3 else (opaque[0],)


def palette_of(dataset: Any, bands: tuple[int, ...]) -> U8 | None:
    """The colour table [256, 3] of an indexed raster, or None."""
    from rasterio.enums import ColorInterp

    if len(bands) != 1 or dataset.colorinterp[bands[0] - 1] != ColorInterp.palette:
        return None
    table = np.zeros((1 << 8 * np.dtype(dataset.dtypes[bands[0] - 1]).itemsize, 3), np.uint8)
    for value, colour in dataset.colormap(bands[0]).items():
        if 0 <= value < len(table):
            table[value] = colour[:3]
    return table


def are_measured(values: NDArray[Any]) -> Bool:
    """Where stored values are numbers that a sensor may give: no NaN, infinity or least float."""
    return np.asarray(np.abs(values) < _MOST, np.bool_)


def limits_of(samples: Sequence[NDArray[Any]], percentiles: tuple[float, float]) -> Limits:
    """Low and high percentile per band over samples [bands, n] of valid values."""
    low, high = percentiles
    if not 0.0 <= low < high <= 100.0:
        raise InvalidValue(f"--stretch {low:g},{high:g}: give two percentiles, for example 2,98.")
    if len({len(sample) for sample in samples}) > 1:
        raise BadImagery(
            "The imagery mixes files of one and of three bands; a common stretch is not possible.\n"
            "Choose the same with --bands, for example --bands 1."
        )
    values = np.concatenate([np.asarray(sample, np.float64) for sample in samples], axis=1)
    values = values[:, are_measured(values).all(axis=0)]
    if values.shape[1] == 0:
        raise BadImagery("The imagery holds no valid pixels to compute a stretch from.")
    found = np.percentile(values, [low, high], axis=1)
    return tuple((float(a), float(b)) for a, b in found.T)
