"""Manifest: what an index says of itself. One JSON file, replaced as a whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossview.errors import BadIndex, CannotWrite
from crossview.files import atomic_write
from crossview.imagery.info import ImageryInfo

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
DEMO_ONLY = "made with a model trained on a synthetic town; its places are not evidence"


@dataclass(frozen=True)
class FileFacts:
    """Size and sha256 of a file of the index."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Segment:
    """Windows that were written together; their files are never changed again."""

    name: str
    windows: int
    files: dict[str, FileFacts]  # by file name within the index folder

    @staticmethod
    def from_json(values: dict[str, Any]) -> Segment:
        """The inverse of ``dataclasses.asdict``."""
        files = {name: FileFacts(**facts) for name, facts in values["files"].items()}
        if any(Path(name).name != name for name in (values["name"], *files)):
            raise ValueError(f"segment {values['name']!r} names a file outside of the index")
        return Segment(values["name"], values["windows"], files)


@dataclass(frozen=True)
class ModelFacts:
    """The model that made the vectors; ``name_or_path`` is how it was called."""

    name_or_path: str
    fingerprint: str
    dim: int
    azimuth_bins: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Facts about an index.

    ``demo_only``: a model of the synthetic town over imagery of the real world, on demand.
    ``coarse``: imagery coarser than twice the model's metres per pixel, on demand.
    ``area_km2``: each window counts with its stride cell, the ground whose nearest pin it is.
    """

    model: ModelFacts
    model_synthetic: bool
    demo_only: bool
    coarse: bool
    imagery: ImageryInfo
    footprint_m: float
    stride_m: float
    metres_per_px: float
    windows: int
    area_km2: float
    segments: tuple[Segment, ...]
    created: str  # UTC, ISO 8601
    calibration: dict[str, Any] | None = None
    steps: tuple[str, ...] = ()  # digests of what was indexed and added, and how
    format_version: int = FORMAT_VERSION

    @property
    def warnings(self) -> tuple[str, ...]:
        """What every answer from this index must carry."""
        said = [DEMO_ONLY] if self.demo_only else []
        if self.coarse:
            said.append(
                f"the imagery ({self.metres_per_px:.3g} m per pixel) is coarser than the model's"
            )
        return (*said, *self.imagery.warnings)


def write_manifest(folder: Path, manifest: Manifest, before: Manifest | None = None) -> None:
    """Replace the manifest of an index folder atomically.

    ``before``: what was read of it; if it is another one now, that is a :class:`CannotWrite`.
    """
    if before is not None and read_manifest(folder) != before:
        raise CannotWrite(
            f"{folder} was changed by another process meanwhile; it is left as it is now.\n"
            "Run the same command again."
        )
    values = {**asdict(manifest), "imagery": manifest.imagery.to_json()}
    atomic_write(folder / MANIFEST_NAME, json.dumps(values, indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index folder; raises :class:`BadIndex` with what to do."""
    return read_fingerprinted(folder)[0]


def read_fingerprinted(folder: Path) -> tuple[Manifest, str]:
    """:func:`read_manifest`, and the sha256 of the file's bytes that it was read from."""
    path = folder / MANIFEST_NAME
    try:
        data = path.read_bytes()
        values = json.loads(data.decode("utf-8"))
    except FileNotFoundError as problem:
        raise BadIndex(
            f"{folder} is not an index: it has no {MANIFEST_NAME}.\n"
            f"Make one with: crossview index IMAGERY --out {folder.stem}.cvx"
        ) from problem
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise BadIndex(f"{path} is damaged ({problem}).\n{REBUILD}") from problem
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise BadIndex(
            f"{folder} has index format {version}; this crossview reads format {FORMAT_VERSION}.\n"
            "Build the index again, or use the crossview that made it."
        )
    try:
        return _manifest(values), hashlib.sha256(data).hexdigest()
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise BadIndex(f"{path} is damaged ({problem!r}).\n{REBUILD}") from problem


REBUILD = "Copy the index again if it was copied, or build it again with crossview index."


def _manifest(values: dict[str, Any]) -> Manifest:
    read = {
        "model": ModelFacts(**values["model"]),
        "imagery": ImageryInfo.from_json(values["imagery"]),
        "segments": tuple(Segment.from_json(segment) for segment in values["segments"]),
        "steps": tuple(values.get("steps", ())),
    }
    return Manifest(**{**values, **read})
