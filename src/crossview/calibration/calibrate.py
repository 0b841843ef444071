"""One calibration per kind of picture, as far as the numbers of known photos allow.

Photos that are known to be from outside of the region: how many a calibration lets through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np

from crossview._version import __version__
from crossview.calibration.fit import CalibrationGoal, explain_too_few, fit
from crossview.calibration.held_out import cross_validate, figures
from crossview.calibration.known_photos import KnownPhoto, KnownPhotos
from crossview.errors import InvalidValue
from crossview.localization.answer import Answer
from crossview.localization.calibration_record import CHOSEN_BY, Calibrated, Calibration
from crossview.localization.posterior import measure_evidence
from crossview.stats import wilson

PANORAMA_DEG = 300.0  # a picture at least this wide counts as a panorama
_WIDTHS_DEG = (0.0, 55.0, 80.0, 120.0, PANORAMA_DEG)  # classes of photos
_UNKNOWN_LENS = "photos of unknown lens"
_DIRECTED = " with their files' headings"


@dataclass(frozen=True, kw_only=True)
class PhotoGroup:
    """Known photos that are calibrated together."""

    name: str
    photos: tuple[KnownPhoto, ...]

    @property
    def assumed(self) -> bool:
        """Whether nothing told their field of view."""
        return self.photos[0].assumed

    @property
    def directed(self) -> bool:
        """Whether they were located with the headings that their files tell."""
        return self.photos[0].directed


def calibrate(
    photos: Sequence[KnownPhoto], wanted: CalibrationGoal, stride_m: float
) -> Calibration:
    """Fit and measure every kind of picture of which there are enough.

    Raises :class:`InvalidValue`, which says how many it takes, if there are enough of none.
    """
    groups = [group for group in group_photos(photos, wanted) if len(group.photos) >= wanted.photos]
    if not groups:
        raise InvalidValue("\n".join(list_refusals(photos, wanted)))
    return Calibration(
        kinds=tuple(_calibrate_group(group, wanted, stride_m) for group in groups),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        share=wanted.share,
        false_reject=wanted.false_reject,
        crossview=__version__,
    )


def group_photos(photos: Sequence[KnownPhoto], wanted: CalibrationGoal) -> list[PhotoGroup]:
    """Photos by kind: panoramas, photos whose lens nothing tells, photos by width.

    Those that were located with the heading in their files are kinds of their own. Widths with too
    few photos are put together, and calibrated as one kind if that is enough. Groups may still be
    too small.
    """
    return [
        PhotoGroup(name=f"{group.name}{ending}", photos=group.photos)
        for directed, ending in ((False, ""), (True, _DIRECTED))
        for group in _by_view([photo for photo in photos if photo.directed == directed], wanted)
    ]


def _by_view(photos: Sequence[KnownPhoto], wanted: CalibrationGoal) -> list[PhotoGroup]:
    unknown = [photo for photo in photos if photo.assumed]
    panoramas = [photo for photo in photos if not photo.assumed and photo.fov_deg >= PANORAMA_DEG]
    classes, rest = [], []
    for low, high in pairwise(_WIDTHS_DEG):
        members = [photo for photo in photos if not photo.assumed and low <= photo.fov_deg < high]
        if len(members) >= wanted.photos:
            classes.append(members)
        else:
            rest += members
    named = [("panoramas", panoramas), (_UNKNOWN_LENS, unknown)]
    named += [(_widths(members), members) for members in [*classes, rest] if members]
    return [PhotoGroup(name=name, photos=tuple(members)) for name, members in named if members]


def list_refusals(photos: Sequence[KnownPhoto], wanted: CalibrationGoal) -> Iterator[str]:
    """Which kinds have too few photos, how many it takes, and what would do."""
    small = [group for group in group_photos(photos, wanted) if len(group.photos) < wanted.photos]
    for group in small:
        yield explain_too_few(group.name, len(group.photos), wanted)
    if small and len({photo.directed for photo in photos}) > 1:
        yield (
            "Some files tell a heading and others do not; with --ignore-direction, here and for "
            "locate, they are one kind."
        )


def _widths(photos: Sequence[KnownPhoto]) -> str:
    low, high = (round(pick(photo.fov_deg for photo in photos)) for pick in (min, max))
    return f"photos of {low} degrees" if low == high else f"photos of {low} to {high} degrees"


def _calibrate_group(group: PhotoGroup, wanted: CalibrationGoal, stride_m: float) -> Calibrated:
    photos = KnownPhotos.of(group.photos)
    widths = [photo.fov_deg for photo in group.photos]
    cell_km2 = (stride_m / 1000.0) ** 2
    return Calibrated(
        name=group.name,
        fov_deg=(min(widths), max(widths)),
        assumed=group.assumed,
        directed=group.directed,
        fov_chosen_by=CHOSEN_BY,
        n=len(photos),
        fit=fit(photos, wanted),
        measured=figures(photos, cross_validate(photos, wanted), wanted, cell_km2),
    )


def add_elsewhere(calibration: Calibration, answers: Sequence[Answer]) -> Calibration:
    """The calibration with ``false_accept_elsewhere`` of each kind that the answers show."""
    kinds = [
        _measure_elsewhere(kind, [a for a in answers if calibration.find(a) is kind])
        for kind in calibration.kinds
    ]
    return replace(calibration, kinds=tuple(kinds))


def _measure_elsewhere(kind: Calibrated, answers: Sequence[Answer]) -> Calibrated:
    if not answers:
        return kind
    evidence = np.array(
        [measure_evidence(answer.scores, kind.fit.temperature) for answer in answers]
    )
    accepted = int((evidence >= kind.fit.refused_below).sum())
    low, high = wilson(accepted, len(evidence))
    share = {"value": accepted / len(evidence), "low": low, "high": high, "n": len(evidence)}
    return replace(kind, measured={**kind.measured, "false_accept_elsewhere": share})
