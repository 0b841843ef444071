"""Add new imagery to an index, which stays as it was until all of it is in."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from crossview.arrays import F64
from crossview.errors import UsageError
from crossview.geo.footprints import covered_km2
from crossview.imagery.sources import Imagery
from crossview.index.build import begun, manifest_of, moving, step_of
from crossview.index.embedding import Job, Progress, fill
from crossview.index.index_options import IndexOptions, require_allowed
from crossview.index.manifest import Manifest, write_manifest
from crossview.index.partial import Partial
from crossview.index.segments import read_places
from crossview.index.store import Index
from crossview.locks import locked
from crossview.model.onnx import Embedder

ADDING_SUFFIX = ".adding"


def add(
    imagery: Imagery,
    embedder: Embedder,
    out: str | Path,
    *,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
) -> Index:
    """Add new imagery to the index ``out``, which stays as it was until all is added.

    Footprint and stride are the index's own. Raises as :func:`build`, and :class:`ModelMismatch`
    for another model than the one that made the index.
    """
    path = Path(os.path.realpath(out))  # a link stays a link
    Index.open(path).require_model(embedder.fingerprint)
    with locked(path, "crossview index --add", wait=True):
        index = Index.open(path)  # others may have added meanwhile
        index.require_model(embedder.fingerprint)
        job = Job.of(imagery, embedder, _as_in(index, options or IndexOptions()))
        folder = path.with_name(path.name + ADDING_SUFFIX)
        step = step_of(job, added=True)
        if step in index.manifest.steps:  # this command was killed before it could say so
            Partial(folder, {}).discard()
            return index
        _require_new(index, imagery)
        require_allowed(imagery.info, embedder.info, job.view, job.options)
        partial = begun(folder, job, first_segment=len(index.manifest.segments))
        fill(partial, job, progress)
        with moving(path):
            for name in (name for segment in partial.segments for name in segment.files):
                if (folder / name).exists():  # else a run that was killed here has moved it
                    os.replace(folder / name, path / name)
        added = manifest_of(path, tuple(partial.segments), job)
        write_manifest(path, _merged(index, added, step), index.manifest)
        partial.discard()
        return Index.open(path)


def _merged(index: Index, added: Manifest, step: str) -> Manifest:
    """The manifest of an index and what was added; a calibration does not outlive that."""
    old = index.manifest
    lat = np.concatenate([index.lat, *_column(index.path, added, 0)])
    lon = np.concatenate([index.lon, *_column(index.path, added, 1)])
    return replace(
        old,
        demo_only=old.demo_only or added.demo_only,
        coarse=old.coarse or added.coarse,
        imagery=old.imagery.merged(added.imagery),
        metres_per_px=max(old.metres_per_px, added.metres_per_px),
        windows=old.windows + added.windows,
        area_km2=covered_km2(lat, lon, old.footprint_m),
        segments=(*old.segments, *added.segments),
        created=added.created,
        calibration=None,
        steps=(*old.steps, step),
    )


def _column(folder: Path, manifest: Manifest, column: int) -> list[F64]:
    return [read_places(folder, segment)[:, column] for segment in manifest.segments]


def _require_new(index: Index, imagery: Imagery) -> None:
    twice = sorted({*index.manifest.imagery.sources} & {*imagery.info.sources})
    if twice:
        raise UsageError(f"{twice[0]} is in {index.path} already; nothing was added.")


def _as_in(index: Index, options: IndexOptions) -> IndexOptions:
    """Options with the index's footprint and stride; others are refused."""
    manifest = index.manifest
    for name, asked, has in (
        ("--footprint", options.footprint_m, manifest.footprint_m),
        ("--stride", options.stride_m, manifest.stride_m),
    ):
        if asked is not None and asked != has:
            raise UsageError(
                f"{name} {asked:g}: the windows of {index.path} have {has:g} m.\n"
                f"Leave {name} out, or build an index of its own."
            )
    return replace(options, footprint_m=manifest.footprint_m, stride_m=manifest.stride_m)
