"""How far a camera was tilted, read from the straight lines of its photo: no network, no label.

Edges of buildings, windows, kerbs and poles are mostly vertical, or horizontal in two directions
at right angles (Coughlan and Yuille, "Manhattan World", ICCV 1999). A lens and a tilt say where
each such direction vanishes; those are right whose vanishing points most line segments aim at. So
the lines tell the tilt of a known lens, and which of several lenses fits them best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from crossview.arrays import F32, F64, U8
from crossview.views.lens import FLAT_LIMIT_DEG

STEEPEST_DEG = 24.0  # a tilt beyond is not looked for
PITCH_SIGMA_DEG, ROLL_SIGMA_DEG = 8.0, 2.0  # of cameras in the hand, before looking
MOST_ROLL_DEG = 4.0
MOST_SIGMA_DEG = 4.0  # a tilt that is less certain is none
_STEP_DEG, _TURN_STEP_DEG = 1.0, 3.0  # of what is tried
_AIM_DEG = 1.2  # standard deviation of where a segment aims
_SHARPNESS = -0.5 / math.radians(_AIM_DEG) ** 2
_NOWHERE = np.float32(1e-9)  # a segment in the vanishing point itself
_STRAY = 0.15  # what a segment that aims nowhere counts, beside 1 of one that aims right
_LOOKED_AT_PX = 448  # the longer side of the picture in which lines are looked for
_LEAST_SIDE_PX, _LEAST_LINE_PX, _LONGEST_LINE_PX = 16, 8.4, 105.0
_RIM = 0.015  # of the picture: frames and borders are no lines of the scene
_MOST_LINES, _LEAST_LINES = 300, 8
_ONE_WITNESS_PX = 42.0  # so many pixels of lines count as one independent observation
_FLOOR_DEG = 0.4  # of the stated error


@dataclass(frozen=True)
class Lines:
    """Straight segments of a picture: x, y of both ends [n, 4], from its middle, longest first.

    In units of half of its longer side; x to the right, y down.
    """

    ends: F32
    wide: float  # half of the width, in the same unit


@dataclass(frozen=True)
class Tilt:
    """How a camera of one field of view was tilted, as far as the lines tell.

    ``pitch_deg``: its middle looks up by so much, give or take ``sigma_deg``. ``roll_deg``: what
    stands upright leans to the right by it. ``evidence``: logarithm of how well the lines agree
    with this lens, to be compared with other lenses of the same picture.
    """

    pitch_deg: float
    sigma_deg: float
    roll_deg: float
    evidence: float

    @property
    def is_told(self) -> bool:
        """Whether the lines tell it; else the camera is taken as level, which is no finding."""
        return self.sigma_deg <= MOST_SIGMA_DEG


def find_lines(pixels: U8) -> Lines:
    """The longest straight segments of a photo [H, W, 3] (LSD: von Gioi et al., PAMI 2010).

    They are looked for in a small picture, so a photo of any size takes about as long.
    """
    import cv2

    height, width = pixels.shape[:2]
    longer = max(width, height)
    none = Lines(np.empty((0, 4), np.float32), width / longer)
    scale = min(1.0, _LOOKED_AT_PX / longer)
    size = round(width * scale), round(height * scale)
    if min(size) < _LEAST_SIDE_PX:
        return none
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else pixels
    detector = cv2.createLineSegmentDetector(cv2.LSD_REFINE_NONE)
    found = detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))[0]
    if found is None:
        return none
    reach = np.array(size * 2, np.float32) / 2.0
    ends = found.reshape(-1, 4).astype(np.float32) + np.float32(0.5) - reach
    length = np.hypot(ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1])
    beyond = (np.abs(ends) > (1.0 - _RIM) * reach).reshape(-1, 2, 2)
    kept = np.flatnonzero((length >= _LEAST_LINE_PX) & ~beyond.all(1).any(1))
    longest = kept[np.argsort(-length[kept], kind="stable")[:_MOST_LINES]]
    return Lines(ends[longest] / np.float32(max(size) / 2.0), none.wide)


def estimate_tilt(lines: Lines, fov_deg: float) -> Tilt:
    """The tilt of a camera of ``fov_deg`` across; not told (sigma 8 degrees) by too few lines.

    All pitches up to ``STEEPEST_DEG`` are compared, each at its best roll and at its best
    direction of the horizontal lines; a tilt has to pay for being unusual.
    """
    if len(lines.ends) < _LEAST_LINES or fov_deg > FLAT_LIMIT_DEG:
        return Tilt(0.0, PITCH_SIGMA_DEG, 0.0, 0.0)
    pitches, rolls = _list_tilts()
    zeniths, horizontals = _list_directions()
    planes, foot, weights = _measure_lines(lines, fov_deg)
    upright = _rate(zeniths, planes, foot)  # [rolls, pitches, n]
    rated = np.log(_STRAY + upright) @ weights - _price(rolls, ROLL_SIGMA_DEG)[:, None]
    roll, every = rated.argmax(0), np.arange(len(pitches))
    level = _rate(horizontals[roll, every], planes, foot)  # [pitches, turns, n]
    half = level.shape[1] // 2  # the other half is a right angle from these
    level = np.maximum(level[:, :half], level[:, half:])
    agreed = np.log(_STRAY + np.maximum(upright[roll, every][:, None], level)) @ weights
    total = agreed.max(1) - weights.sum() * math.log(_STRAY)
    total -= _price(pitches, PITCH_SIGMA_DEG) + _price(rolls[roll], ROLL_SIGMA_DEG)
    return _summarize(total.astype(np.float64), pitches, rolls[roll])


def _summarize(total: F64, pitches: F32, rolls: F32) -> Tilt:
    """The best of the pitches, between its neighbours, and how well the others are excluded."""
    best = int(total.argmax())
    chances = np.exp(total - total[best])
    evidence = float(total[best]) + math.log(float(chances.sum()))
    chances /= chances.sum()
    spread = float(np.sqrt(chances @ (pitches - chances @ pitches) ** 2))
    sigma = math.hypot(spread, _FLOOR_DEG)
    if sigma > MOST_SIGMA_DEG or not 0 < best < len(pitches) - 1:
        return Tilt(0.0, PITCH_SIGMA_DEG, 0.0, evidence)
    before, here, after = (float(value) for value in total[best - 1 : best + 2])
    bend = before - 2.0 * here + after
    between = 0.5 * (before - after) / bend if bend < 0.0 else 0.0
    return Tilt(float(pitches[best]) + between * _STEP_DEG, sigma, float(rolls[best]), evidence)


def _price(deviations: F32, sigma: float) -> F32:
    cost: F32 = np.square(deviations / np.float32(sigma)) / np.float32(2.0)
    return cost


def _list_tilts() -> tuple[F32, F32]:
    """Pitches and rolls that are tried, degrees."""
    pitches = np.arange(-STEEPEST_DEG, STEEPEST_DEG + _STEP_DEG / 2.0, _STEP_DEG)
    rolls = np.arange(-MOST_ROLL_DEG, MOST_ROLL_DEG + 0.5, 1.0)
    return pitches.astype(np.float32), rolls.astype(np.float32)


@lru_cache(maxsize=1)
def _list_directions() -> tuple[F32, F32]:
    """Where the zenith [R, P, 3] and level directions [R, P, T, 3] lie at each roll and pitch.

    As (right, down, forward) of the camera. The second half of the turns is a right angle from
    the first.
    """
    pitches, rolls = (np.radians(angles.astype(np.float64)) for angles in _list_tilts())
    quarter = np.radians(np.arange(0.0, 90.0, _TURN_STEP_DEG))
    turns = np.concatenate([quarter, quarter + np.pi / 2.0])
    pitch, roll = pitches[None, :], rolls[:, None]
    zenith = _lean(np.zeros((1, 1)), np.cos(pitch), np.sin(pitch), roll)
    pitch, roll = pitch[..., None], roll[..., None]
    forward = np.cos(turns)
    level = _lean(np.sin(turns), -forward * np.sin(pitch), forward * np.cos(pitch), roll)
    return zenith, level


def _lean(right: F64, up: F64, forward: F64, roll: F64) -> F32:
    """Directions of a camera without roll as one leaning to the left sees them: leant right."""
    c, s = np.cos(roll), np.sin(roll)
    parts = np.broadcast_arrays(right * c + up * s, right * s - up * c, forward)
    return np.stack(parts, axis=-1).astype(np.float32)


def _measure_lines(lines: Lines, fov_deg: float) -> tuple[F32, F32, F32]:
    """Of each segment n: its plane [3, n], the foot that aims are measured at [2, n], its weight.

    A direction lies in the plane through a segment and the lens if the segment aims at where the
    direction vanishes.
    """
    focal = np.float32(lines.wide / math.tan(math.radians(fov_deg / 2.0)))
    start, end = lines.ends[:, :2], lines.ends[:, 2:]
    along = end - start
    length = np.hypot(along[:, 0], along[:, 1])
    x, y = (along / length[:, None]).T
    foot = ((start + end) / 2.0).T
    planes = np.stack([focal * y, -focal * x, foot[1] * x - foot[0] * y])
    counted = np.minimum(length * _LOOKED_AT_PX / 2.0, _LONGEST_LINE_PX) / _ONE_WITNESS_PX
    return planes, foot / focal, counted.astype(np.float32)


def _rate(directions: F32, planes: F32, foot: F32) -> F32:
    """How well segments n aim at directions [..., 3]: [..., n], 1 for exactly.

    The angle in the picture between a segment and the line from its middle to where the direction
    vanishes decides.
    """
    x, y, forward = (directions[..., axis, None] for axis in range(3))
    off = directions @ planes
    away = np.square(x - forward * foot[0]) + np.square(y - forward * foot[1])
    focal2 = planes[0] ** 2 + planes[1] ** 2
    aimed: F32 = np.exp(np.square(off) / (away * focal2 + _NOWHERE) * np.float32(_SHARPNESS))
    return aimed
