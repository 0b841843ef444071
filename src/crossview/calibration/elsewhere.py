"""Photos that are known to be from outside of the region: how many a calibration lets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crossview.localization.answer import Answer
from crossview.localization.calibration_record import Calibrated, Calibration
from crossview.localization.posterior import evidence
from crossview.stats import wilson


def with_elsewhere(calibration: Calibration, answers: Sequence[Answer]) -> Calibration:
    """The calibration with ``false_accept_elsewhere`` of each kind that the answers show."""
    kinds = [
        _measured(kind, [a for a in answers if calibration.of(a) is kind])
        for kind in calibration.kinds
    ]
    return replace(calibration, kinds=tuple(kinds))


def _measured(kind: Calibrated, answers: Sequence[Answer]) -> Calibrated:
    if not answers:
        return kind
    found = np.array([evidence(answer.scores, kind.fit.temperature) for answer in answers])
    accepted = int((found >= kind.fit.refused_below).sum())
    low, high = wilson(accepted, len(found))
    share = {"value": accepted / len(found), "low": low, "high": high, "n": len(found)}
    return replace(kind, measured={**kind.measured, "false_accept_elsewhere": share})
