"""A calibration as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crossview.outputs.records import square_text
from crossview.retrieval.calibration import Calibrated, Calibration


def calibration_text(calibration: Calibration) -> str:
    """What was measured of each kind of picture, beside chance, with 95 % intervals."""
    lines = [line for kind in calibration.kinds for line in (*_kind(calibration, kind), "")]
    lines.append(
        "Every figure is of photos that its fit had not seen (five folds of places). "
        f"Odds before looking: {_percent(calibration.share)} from elsewhere, which is assumed."
    )
    return "\n".join(lines)


def _kind(calibration: Calibration, kind: Calibrated) -> Iterator[str]:
    known = kind.measured
    yield f"{kind.name}: {kind.n} known photos at {known['spots']} spots"
    chance = known["within_25m_by_chance"]
    for k, share in known["recall"].items():
        among = "first place" if k == "1" else f"one of {k} places"
        by_chance = 1.0 - (1.0 - chance) ** int(k)
        yield f"  {among} within 25 m: {_share(share)}; by chance {_percent(by_chance)}"
    error = known["median_error_m"]
    yield (
        f"  median error: {error['value']:.1f} m ({error['low']:.1f} to {error['high']:.1f}); "
        f"by chance {known['median_error_m_by_chance']:.0f} m"
    )
    yield (
        f"  stated probabilities: expected calibration error {known['calibration_error']:.3f} "
        f"({known['calibration_error_by_chance']:.3f} by chance at this n), "
        f"Brier score {known['brier']:.3f}"
    )
    for one in known["sets"]:
        yield (
            f"  area for {_percent(one['asked'])}: holds the truth of {_share(one['coverage'])}; "
            f"median {square_text(one['median_km2'])}, "
            f"{_percent(one['median_share'])} of the region"
        )
    yield from _refusing(calibration, known)


def _refusing(calibration: Calibration, known: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"  'not in this region': said of {_share(known['false_reject'])} of its own photos "
        f"(asked: {_percent(calibration.false_reject)})"
    )
    if "false_accept" in known:
        yield (
            f"    misses {_share(known['false_accept'])} of them when their own ground is taken "
            "out of the region"
        )
    if "false_accept_elsewhere" in known:
        given = known["false_accept_elsewhere"]
        yield f"    misses {_share(given)} of {given['n']} photos from elsewhere"


def _share(given: Mapping[str, float]) -> str:
    return f"{_percent(given['value'])} ({_percent(given['low'])} to {_percent(given['high'])})"


def _percent(share: float) -> str:
    percent = 100.0 * share
    return f"{percent:.2g} %" if 0.0 < percent < 0.95 else f"{percent:.1f} %"
