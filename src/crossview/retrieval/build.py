"""Build an index.

It grows in a folder beside its name and gets its name when it is complete. A killed run goes
on at its last finished segment and ends with the same vectors, bit by bit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from crossview.errors import CannotWrite, UsageError
from crossview.geo.coverage import covered_km2
from crossview.imagery.sources import Imagery
from crossview.retrieval.embedder import Embedder
from crossview.retrieval.embedding import Job, Progress, fill
from crossview.retrieval.index import PARTIAL_SUFFIX, Index
from crossview.retrieval.manifest import (
    MANIFEST_NAME,
    Manifest,
    ModelFacts,
    Segment,
    write_manifest,
)
from crossview.retrieval.partial import PROGRESS_NAME, Partial
from crossview.retrieval.segments import check_sizes, read_places
from crossview.retrieval.settings import (
    IndexOptions,
    build_settings,
    is_coarse,
    require_allowed,
)

_REPLACED_SUFFIX = ".replaced"


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
    _require_free(out, overwrite=job.options.overwrite)
    partial = begun(out.with_name(out.name + PARTIAL_SUFFIX), job, first_segment=0)
    fill(partial, job, progress)
    write_manifest(partial.folder, manifest_of(partial.folder, tuple(partial.segments), job))
    with moving(out):
        _take_name(partial.folder, out)
    return Index.open(out)


def begun(folder: Path, job: Job, *, first_segment: int) -> Partial:
    """The partial index of a job in ``folder``, taken up or begun."""
    settings = build_settings(job.imagery.info, job.embedder.fingerprint, job.tiling, job.options)
    settings["first_segment"] = first_segment
    return Partial.begin_or_go_on(folder, settings, restart=job.options.restart)


def manifest_of(folder: Path, segments: tuple[Segment, ...], job: Job) -> Manifest:
    """The manifest of segments that lie in ``folder``, checked to be there."""
    for segment in segments:
        check_sizes(folder, segment)
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
    )


def _require_free(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if (out / MANIFEST_NAME).is_file():
        if overwrite:
            return
        raise UsageError(
            f"There is an index {out} already.\n"
            "Add new imagery to it with --add, replace it with --overwrite, or choose another name."
        )
    raise UsageError(f"{out} exists and is not an index. Choose another --out, such as region.cvx.")


def _take_name(folder: Path, out: Path) -> None:
    """Rename a complete index to its name; an index that had the name goes last of all."""
    replaced = out.with_name(out.name + _REPLACED_SUFFIX)
    if out.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.replace(out, replaced)
    os.replace(folder, out)
    (out / PROGRESS_NAME).unlink(missing_ok=True)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def moving(out: Path) -> Iterator[None]:
    """Say :class:`CannotWrite` of ``out`` when files cannot be renamed."""
    try:
        yield
    except OSError as problem:
        raise CannotWrite(f"Cannot write {out}: {problem.strerror}.") from problem
