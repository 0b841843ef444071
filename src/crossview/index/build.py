"""Build an index.

It grows in a folder beside its name and gets its name when it is complete. A killed run goes
on at its last finished segment and ends with the same vectors, bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from crossview.errors import BadIndex, CannotWrite, UsageError
from crossview.files import replace_folder
from crossview.geo.footprints import covered_km2
from crossview.imagery.sources import Imagery
from crossview.index.checksums import compare
from crossview.index.embedding import Job, Progress, fill
from crossview.index.index_options import IndexOptions, build_settings, is_coarse, require_allowed
from crossview.index.manifest import Manifest, ModelFacts, Segment, read_manifest, write_manifest
from crossview.index.partial import PROGRESS_NAME, Partial, foreign_files, is_own_file, remove_index
from crossview.index.segments import read_places
from crossview.index.store import PARTIAL_SUFFIX, Index
from crossview.locks import locked
from crossview.model.onnx import Embedder


def build(
    imagery: Imagery,
    embedder: Embedder,
    out: str | Path,
    *,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
) -> Index:
    """Index all windows of ``imagery`` into the folder ``out``, or go on doing so.

    Raises :class:`SyntheticModel`, :class:`TooCoarse`, :class:`EmptyRegion`, :class:`BadImagery`,
    :class:`CannotWrite`, and :class:`UsageError` for an ``out`` that exists already or was begun
    with other settings.
    """
    job, out = Job.of(imagery, embedder, options or IndexOptions()), Path(out)
    require_allowed(imagery.info, embedder.info, job.view, job.options)
    _whole_already(out, job)  # what is wrong with that name is told before others are waited for
    with locked(out, "crossview index", wait=job.options.overwrite):
        if whole := _whole_already(out, job):
            return whole
        partial = begun(out.with_name(out.name + PARTIAL_SUFFIX), job, first_segment=0)
        fill(partial, job, progress)
        write_manifest(partial.folder, manifest_of(partial.folder, tuple(partial.segments), job))
        with moving(out):
            _take_name(partial.folder, out)
    return Index.open(out)


def step_of(job: Job, *, added: bool) -> str:
    """A digest of what is indexed and how: the same command over the same files has the same."""
    settings = [added, _settings(job)]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _settings(job: Job) -> dict[str, Any]:
    return build_settings(job.imagery.info, job.embedder.fingerprint, job.tiling, job.options)


def begun(folder: Path, job: Job, *, first_segment: int) -> Partial:
    """The partial index of a job in ``folder``, taken up or begun."""
    settings = {**_settings(job), "first_segment": first_segment}
    return Partial.begin_or_go_on(folder, settings, restart=job.options.restart)


def manifest_of(folder: Path, segments: tuple[Segment, ...], job: Job) -> Manifest:
    """The manifest of segments that lie in ``folder``, checked to be there."""
    compare(folder, segments)
    info, imagery = job.embedder.info, job.imagery.info
    name = job.options.model_name or info.name
    places = np.concatenate([read_places(folder, segment) for segment in segments])
    return Manifest(
        model=ModelFacts(name, job.embedder.fingerprint, info.dim, info.azimuth_bins),
        model_synthetic=info.synthetic,
        demo_only=info.synthetic and imagery.synthetic is None,
        coarse=is_coarse(imagery, job.view),
        imagery=imagery,
        footprint_m=job.tiling.footprint_m,
        stride_m=job.tiling.stride_m,
        metres_per_px=imagery.metres_per_px,
        windows=len(places),
        area_km2=covered_km2(places[:, 0], places[:, 1], job.tiling.footprint_m),
        segments=segments,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=(step_of(job, added=False),),
    )


def _whole_already(out: Path, job: Job) -> Index | None:
    """The index ``out`` if the same command has made it, and was killed before it could say so.

    None when the name is free or may be taken. UsageError for anything else of that name.
    """
    if out.is_symlink():
        raise UsageError(
            f"{out} is a symbolic link to {os.path.realpath(out)}.\n"
            "Give that name itself as --out, or another one."
        )
    if not out.exists():
        return None
    try:
        steps = read_manifest(out).steps
    except BadIndex as problem:
        raise UsageError(
            f"{out} exists and is not an index that can be read.\n"
            "Remove it yourself, or choose another --out, such as region.cvx."
        ) from problem
    if job.options.overwrite:
        if foreign := foreign_files(out):
            raise UsageError(
                f"{out} holds what crossview has not written: {', '.join(foreign[:5])}.\n"
                "Move that elsewhere, or choose another --out."
            )
        return None
    if steps == (step_of(job, added=False),) and not job.options.restart:
        with moving(out):
            (out / PROGRESS_NAME).unlink(missing_ok=True)
        return Index.open(out)
    raise UsageError(
        f"There is an index {out} already.\n"
        "Add new imagery to it with --add, replace it with --overwrite, or choose another name."
    )


def _take_name(folder: Path, out: Path) -> None:
    """Rename a complete index to its name; our files of one that had it go last of all."""
    if out.exists():
        for path in out.iterdir():
            if not is_own_file(path) and not (folder / path.name).exists():
                os.replace(path, folder / path.name)  # a file manager's, such as .DS_Store
    replace_folder(folder, out, remove_index)
    (out / PROGRESS_NAME).unlink(missing_ok=True)


@contextmanager
def moving(out: Path) -> Iterator[None]:
    """Say :class:`CannotWrite` of ``out`` when files cannot be renamed."""
    try:
        yield
    except OSError as problem:
        raise CannotWrite(f"Cannot write {out}: {problem.strerror}.") from problem
