"""Audit records: what was searched with which files, what was assumed, and what came out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from crossview._version import __version__
from crossview.files import append_lines, require_text
from crossview.index.selection import Windows
from crossview.localization.answer import Answer, Place, PriorShift
from crossview.localization.hints import Hints
from crossview.locks import lock

_PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow")


def make_audit_record(answer: Answer, hints: Hints, index: Windows) -> dict[str, Any]:
    """One answer as plain JSON values that let somebody else repeat and check it.

    Fingerprints: sha256 of the photo's file, of the model, and of the index's manifest as it was
    when the index was opened, which holds the checksums of everything else in the index.
    """
    model = index.manifest.model
    return {
        "photo": answer.photo,
        "photo_sha256": answer.sha256,
        "model": model.name_or_path,
        "model_fingerprint": model.fingerprint,
        "index": index.name,
        "index_fingerprint": index.fingerprint,
        "imagery": list(index.manifest.imagery.sources),
        "hints": hints.to_json(),
        "kind": answer.kind,
        "fov_deg": answer.fov_deg,
        "fov_source": answer.fov_source,
        "heading_source": answer.heading_source,
        "assumptions": list(answer.assumptions),
        "warnings": list(answer.warnings),
        "places": [_describe_place(place) for place in answer.places],
        "prior": None if answer.prior is None else _describe_shift(answer.prior),
        "together": [
            {"photo": one.photo, "photo_sha256": one.sha256, "foreign": one.foreign}
            for one in answer.together
        ],
        "truth": None if answer.truth is None else str(answer.truth),
        "error_m": answer.error_m,
        "versions": collect_versions(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def collect_versions() -> dict[str, str]:
    """Of crossview, Python and the packages that numbers depend on."""
    versions = {"crossview": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def append_records(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Add one line of JSON per record to ``path``; earlier lines stay.

    Any number of processes may add to one file. Raises :class:`CannotWrite`.
    """
    require_text(path)
    with lock(path, "crossview locate --audit", wait=True):
        append_lines(path, records, durable=True)


def _describe_shift(shift: PriorShift) -> dict[str, Any]:
    return {
        **shift.prior.to_json(),
        "first_moved_m": shift.first_moved_m,
        "mean_moved_m": shift.mean_moved_m,
        "spread_m": shift.spread_m,
        "bits": shift.bits,
        "holds": shift.holds,
    }


def _describe_place(place: Place) -> dict[str, Any]:
    return {
        "rank": place.rank,
        "lat": place.latlon.lat,
        "lon": place.latlon.lon,
        "score": place.score,
        "position_sigma_m": place.position_sigma_m,
        "heading_deg": place.heading_deg,
        "heading_sigma_deg": place.heading_sigma_deg,
        "probability": place.probability,
        "window": place.window,
    }
