"""Manifest: what an index says of itself. One JSON file, replaced as a whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crossview.errors import BadIndex, CannotWrite
from crossview.files import atomic_write
from crossview.imagery.provenance import ImageryInfo
from crossview.schema import (
    AtLeastOne,
    Count,
    NotNegative,
    Positive,
    Sha256,
    Text,
    check,
    parse_object,
    read_bytes,
)

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
SEGMENT_PARTS = ("vectors.npy", "places.npy", "thumbnails.bin", "offsets.npy")
EDITED = "the manifest of its index was edited by hand, not by crossview"
DEMO_ONLY = "made with a model trained on a synthetic town; its places are not evidence"


@dataclass(frozen=True)
class FileFacts:
    """Size and sha256 of a file of the index."""

    bytes: Count
    sha256: Sha256


@dataclass(frozen=True)
class Segment:
    """Windows that were written together; their files are never changed again."""

    name: Text
    windows: AtLeastOne
    files: dict[str, FileFacts]  # by file name within the index folder

    def __post_init__(self) -> None:
        if any(Path(name).name != name for name in (self.name, *self.files)):
            raise ValueError(f"segment {self.name!r} names a file outside of the index")

    @staticmethod
    def from_json(values: dict[str, Any]) -> Segment:
        """The inverse of ``dataclasses.asdict``; ValueError for anything else."""
        return check(Segment, values)


@dataclass(frozen=True)
class ModelFacts:
    """The model that made the vectors; ``name_or_path`` is how it was called."""

    name_or_path: Text
    fingerprint: Sha256
    dim: AtLeastOne
    azimuth_bins: AtLeastOne


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
    footprint_m: Positive
    stride_m: Positive
    metres_per_px: Positive
    windows: Count
    area_km2: NotNegative
    segments: tuple[Segment, ...]
    created: Text  # UTC, ISO 8601
    calibration: dict[str, Any] | None = None
    steps: tuple[Text, ...] = ()  # digests of what was indexed and added, and how
    edited: bool = False  # by hand, since crossview wrote it
    format_version: int = FORMAT_VERSION

    @property
    def warnings(self) -> tuple[str, ...]:
        """What every answer from this index must carry."""
        said = [DEMO_ONLY] if self.demo_only else []
        if self.edited:
            said.append(EDITED)
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
    values = {**values, "checksum": _checksum(values)}
    atomic_write(folder / MANIFEST_NAME, json.dumps(values, indent=1) + "\n")


def _checksum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _edited(manifest: Manifest, data: bytes) -> Manifest:
    """The manifest of a file whose checksum is another; ValueError where bytes were damaged.

    Whoever edits a manifest with a program of their own writes all of it anew, in that program's
    layout. That may be meant, and is said with every answer.
    """
    if data.startswith(b'{\n "'):
        raise ValueError("it has changed since crossview wrote it")
    return replace(manifest, edited=True)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index folder; raises :class:`BadIndex` with what to do."""
    return read_fingerprinted(folder)[0]


def read_fingerprinted(folder: Path) -> tuple[Manifest, str]:
    """:func:`read_manifest`, and the sha256 of the file's bytes that it was read from."""
    path = folder / MANIFEST_NAME
    try:
        data = read_bytes(path)
        values = parse_object(data)
    except FileNotFoundError as problem:
        raise BadIndex(
            f"{folder} is not an index: it has no {MANIFEST_NAME}.\n"
            f"Make one with: crossview index IMAGERY --out {folder.stem}.cvx"
        ) from problem
    except (OSError, ValueError) as problem:
        raise BadIndex(f"{path} is damaged ({problem}).\n{REBUILD}") from problem
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise BadIndex(
            f"{folder} has index format {version}; this crossview reads format {FORMAT_VERSION}.\n"
            "Build the index again, or use the crossview that made it."
        )
    checksum = values.pop("checksum", None)  # indexes of before have none
    try:
        manifest = _manifest(values)
        if checksum is not None and checksum != _checksum(values):
            manifest = _edited(manifest, data)
        return manifest, hashlib.sha256(data).hexdigest()
    except ValueError as problem:
        raise BadIndex(f"{path} is damaged ({problem}).\n{REBUILD}") from problem


REBUILD = "Copy the index again if it was copied, or build it again with crossview index."


def _manifest(values: dict[str, Any]) -> Manifest:
    """ValueError where a value, or what several of them say together, cannot be."""
    manifest = check(Manifest, values)
    names = [segment.name for segment in manifest.segments]
    files = [name for segment in manifest.segments for name in segment.files]
    total = sum(segment.windows for segment in manifest.segments)
    for fits, what in (
        (len({*names}) == len(names), "two segments have one name"),
        (len({*files}) == len(files), "two segments have a file together"),
        (total == manifest.windows, f"{manifest.windows} windows announced, {total} in segments"),
        (manifest.model.dim % manifest.model.azimuth_bins == 0, "its bins do not divide dim"),
    ):
        if not fits:
            raise ValueError(what)
    for segment in manifest.segments:
        if {*segment.files} != {f"{segment.name}.{part}" for part in SEGMENT_PARTS}:
            raise ValueError(f"segment {segment.name!r} has other files than a segment has")
    return manifest
