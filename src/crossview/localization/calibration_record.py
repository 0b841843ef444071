"""Calibration: what an index knows, from known photos of its own region, of how far to trust it.

It is measured by :mod:`crossview.calibration.fit`, kept in the index's manifest, and used by
``locate``. Each kind of picture has its own; of a kind that was not measured nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike

from crossview.arrays import F64, Bool
from crossview.errors import BadIndex
from crossview.localization.answer import Answer, Place
from crossview.model import as_wide_as
from crossview.schema import Count, NotNegative, Positive, Sentence, Share, check
from crossview.views.lens import FLAT_LIMIT_DEG

FORMAT = 3  # from 2 on a file of its own must have a checksum; an index has one for all
LIGHT_FORMAT = 4  # of one with strata by light, which earlier versions cannot read
READ_FORMATS = (1, 2, FORMAT, LIGHT_FORMAT)  # those before 3 say nothing of sigmas
Open = Annotated[float, Interval(gt=0.0, lt=1.0)]  # a share that is neither none nor all
Fov = Annotated[float, Interval(ge=0.0, le=360.0)]  # degrees
# How an unknown field of view is chosen (localization.search).
CHOSEN_BY = "score and lines of tilted photos"
TILTED_BY = "lines"  # how the tilt of a photo is found where nothing tells it (views.horizon)


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Pictures whose ground is less light, or which stand out less, than in the next stratum.

    ``ground_light_below`` is given, or ``prominence_below``, as earlier versions had it.
    """

    below_best: NotNegative
    prominence_below: float | None = None
    ground_light_below: float | None = None

    def holds(self, prominence: F64, ground_light: F64) -> Bool:
        """Which of pictures [n] lie below; NaN does nowhere."""
        held = np.ones(len(prominence), dtype=bool)
        if self.prominence_below is not None:
            held &= prominence < self.prominence_below
        if self.ground_light_below is not None:
            held &= ground_light < self.ground_light_below
        return held


@dataclass(frozen=True, kw_only=True)
class Reach:
    """A set that holds the truth with a coverage in (0, 1).

    It is the cells whose score is at most ``below_best`` (a difference of cosines) below the best.
    ``strata``: other limits for pictures of other light; the first that holds a picture counts. So
    night and day are both covered by a calibration that has seen both.
    """

    coverage: Open
    below_best: NotNegative
    strata: tuple[Stratum, ...] = ()

    @property
    def largest_limit(self) -> float:
        """``below_best`` of the stratum in which it is largest."""
        return max([self.below_best, *(stratum.below_best for stratum in self.strata)])

    def limit(self, prominence: ArrayLike, ground_light: ArrayLike | None = None) -> F64:
        """``below_best`` for pictures of a prominence [n] (``posterior.measure_prominence``).

        ``ground_light`` [n] as in ``Answer``; where it matters and is not known (None, NaN), the
        largest limit counts.
        """
        prominences = np.atleast_1d(np.asarray(prominence, np.float64))
        lights = np.full(len(prominences), np.nan)
        lights[:] = np.nan if ground_light is None else np.asarray(ground_light, np.float64)
        found = np.full(len(prominences), self.below_best)
        for stratum in reversed(self.strata):
            found[stratum.holds(prominences, lights)] = stratum.below_best
        if any(stratum.ground_light_below is not None for stratum in self.strata):
            found[np.isnan(lights)] = self.largest_limit
        return found.reshape(np.shape(prominence))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Everything that was fitted for one kind of picture.

    ``temperature`` of the softmax over cells, in cosines; ``refused_below``: a picture with less
    evidence is said not to be in this region.
    """

    temperature: Positive
    bias: float
    slope: float
    refused_below: float
    reaches: tuple[Reach, ...]

    def elsewhere(self, evidence: ArrayLike, share: float) -> F64:
        """Probability that pictures of this evidence were taken outside of the region.

        Odds ``share / (1 - share) * exp(bias - slope * evidence)``: ``share`` before looking.
        """
        odds = math.log(share / (1.0 - share)) + self.bias - self.slope * np.asarray(evidence)
        chance: F64 = 1.0 / (1.0 + np.exp(-np.clip(odds, -700.0, 700.0)))
        return chance


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far the poses of right places are off: 68.27 of 100 are within one sigma.

    ``position`` and ``heading``: sigma over the width of the summit that a place or heading was
    refined on (``Place.peak_m``, ``Place.peak_deg``). ``centre_m``: sigma of a place that kept its
    window's centre. None: too few known photos had such a summit, or a heading that was known.
    """

    centre_m: Positive
    position: Positive | None = None
    heading: Positive | None = None

    def add_sigmas(self, place: Place) -> Place:
        """A place with its sigmas, as far as they were measured."""
        peak_m, peak_deg = place.peak_m, place.peak_deg
        turned = None if self.heading is None or peak_deg is None else self.heading * peak_deg
        moved = None if self.position is None or peak_m is None else self.position * peak_m
        sigma_m = self.centre_m if peak_m is None else moved
        return replace(place, position_sigma_m=sigma_m, heading_sigma_deg=turned)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A region that a calibration was measured on, and used elsewhere."""

    index: Sentence  # name of its folder
    created: Sentence  # UTC, ISO 8601


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """One kind of picture: what was fitted on ``n`` known photos, and what was measured with it.

    ``fov_deg``: the narrowest and the widest of them. ``assumed``: nothing said their field of
    view, and it was chosen by ``fov_chosen_by``. ``tilted_by``: what the tilt of photos of one
    lens was taken from. ``directed``: the heading in their files was used. ``measured`` holds the
    figures, each from photos that its fit had not seen. ``spread`` of poses is None where too few
    first places were right.
    """

    name: str
    fov_deg: tuple[Fov, Fov]
    assumed: bool
    n: Count
    fit: Fit
    measured: dict[str, Any] = field(default_factory=dict)
    directed: bool = False
    fov_chosen_by: str = CHOSEN_BY
    spread: Spread | None = None
    tilted_by: str = TILTED_BY

    @property
    def is_outdated(self) -> bool:
        """Whether photos are read otherwise now than when this kind was measured."""
        by_lines = self.assumed or self.fov_deg[0] <= FLAT_LIMIT_DEG
        chosen_otherwise = self.assumed and self.fov_chosen_by != CHOSEN_BY
        return chosen_otherwise or (by_lines and self.tilted_by != TILTED_BY)

    def covers(self, answer: Answer) -> bool:
        """Whether a picture is of this kind: as wide as those measured (``model``)."""
        assumed = answer.fov_source == "assumed"
        if self.is_outdated and answer.fov_source != "unused":
            return False
        return self.covers_view(answer.fov_deg, assumed=assumed, directed=answer.directed)

    def covers_view(self, fov_deg: float, *, assumed: bool, directed: bool) -> bool:
        """As :meth:`covers`, of what is known of a picture that is read as these were."""
        if assumed != self.assumed or directed != self.directed:
            return False
        return assumed or as_wide_as(fov_deg, self.fov_deg)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What is in ``manifest.calibration``: every kind of picture that was measured.

    ``share``: of future pictures, how many are assumed to be from outside the region; it is
    assumed, not measured. ``false_reject``: share of the region's own pictures that may be refused.
    ``carried_from``: the regions that all of this was measured on, where it was not this one.
    """

    kinds: tuple[Calibrated, ...]
    created: str  # UTC, ISO 8601
    share: Open
    false_reject: Share
    crossview: str  # version
    carried_from: tuple[Carried, ...] = ()

    def find(self, answer: Answer) -> Calibrated | None:
        """The calibration for a picture of this kind, if there is one."""
        return next((kind for kind in self.kinds if kind.covers(answer)), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {"format": FORMAT, **asdict(self)}
        for reach in (reach for kind in values["kinds"] for reach in kind["fit"]["reaches"]):
            if not reach["strata"]:  # as earlier versions write and read it
                del reach["strata"]
                continue
            told = [
                {key: value for key, value in stratum.items() if value is not None}
                for stratum in reach["strata"]
            ]
            reach["strata"] = told
            if any("ground_light_below" in stratum for stratum in told):
                values["format"] = LIGHT_FORMAT
        return values

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Calibration:
        """The inverse of :meth:`to_json`; :class:`BadIndex` for anything else."""
        try:
            if values["format"] not in READ_FORMATS:
                raise BadIndex(
                    f"The index has a calibration of format {values['format']}; this crossview "
                    f"reads formats {READ_FORMATS[0]} to {READ_FORMATS[-1]}.\n"
                    "Calibrate again with crossview calibrate."
                )
            entries = {key: value for key, value in values.items() if key != "format"}
            # Old calibrations do not say how unknown fields of view and tilts were found.
            earlier = {"fov_chosen_by": "prominence", "tilted_by": "level"}
            kinds = [{**earlier, **kind} for kind in values["kinds"]]
            return check(Calibration, {**entries, "kinds": kinds})
        except (KeyError, TypeError, ValueError) as problem:
            raise BadIndex(
                f"The index's calibration is damaged ({problem}).\n"
                "Calibrate again with crossview calibrate."
            ) from problem
