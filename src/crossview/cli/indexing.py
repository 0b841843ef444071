"""What ``crossview index`` does once its options are read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from crossview.cli import console
from crossview.imagery.borders import borders
from crossview.imagery.options import SourceOptions
from crossview.imagery.sources import Imagery, open_sources
from crossview.retrieval import adding
from crossview.retrieval import build as building
from crossview.retrieval import estimate as estimates
from crossview.retrieval.embedder import Embedder
from crossview.retrieval.embedding import Job
from crossview.retrieval.index import Index
from crossview.retrieval.models import PACKAGED, open_model, resolve_model
from crossview.retrieval.settings import (
    IndexOptions,
    default_model,
    finest_useful_m,
    require_allowed,
    tiling_for,
    view_for,
)

UNTRIED = 0.05  # how far a footprint may be from the model's without a warning


@dataclass(frozen=True)
class Request:
    """The command line, read."""

    sources: tuple[Path, ...]
    out: Path
    model: str | None
    described: SourceOptions
    wanted: IndexOptions
    threads: int
    add: bool
    quiet: bool


def build(request: Request) -> None:
    """Make the index, or add to it, with a progress bar."""
    make = adding.add if request.add else building.build
    with _opened(request) as (imagery, embedder, options), _reported(request) as progress:
        index = make(imagery, embedder, request.out, options=options, progress=progress)
        trained_m = embedder.info.aerial.footprint_m
    if trained_m is None:
        console.warn("how many metres the model's aerial pictures spanned in training is unknown.")
    elif abs(index.manifest.footprint_m / trained_m - 1.0) > UNTRIED:
        console.warn(f"the model was trained on windows of {trained_m:g} m; others are untried.")
    for warning in index.manifest.warnings:
        console.warn(f"{index.path}: {warning}.")
    console.result(_summary(index))


@contextmanager
def _opened(request: Request) -> Iterator[tuple[Imagery, Embedder, IndexOptions]]:
    """Imagery, model and options, fitted to each other."""
    name = request.model
    if name is None and request.add:
        name = Index.open(request.out).manifest.model.name_or_path
    if name is None:
        with open_sources(request.sources, request.described) as imagery:
            name = default_model(imagery.info)
    embedder = open_model(name, threads=request.threads)
    known_as = name if name in PACKAGED else str(resolve_model(name).resolve())
    options = replace(request.wanted, model_name=known_as)
    view = view_for(embedder.info, tiling_for(embedder.info, options))
    described = replace(request.described, finest_useful_m=finest_useful_m(view))
    with open_sources(request.sources, described) as imagery:
        if imagery.ignored:
            console.note(
                f"{len(imagery.ignored)} pictures without a place were left out, "
                f"such as {imagery.ignored[0].name}.",
                quiet=request.quiet,
            )
        for note in imagery.notes:
            console.note(f"{note}.", quiet=request.quiet)
        if imagery.info.synthetic is None:
            for border in borders(imagery.parts):
                console.warn(f"{border}.")
        yield imagery, embedder, options


@contextmanager
def _reported(request: Request) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears with the first report, so that it knows where the work begins."""
    with ExitStack() as stack:
        bars: list[console.Bar] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bar = console.progress(
                    "Indexing", total, unit="tiles", done=done, quiet=request.quiet
                )
                bars.append(stack.enter_context(bar))
                if done:
                    console.note(f"Going on at tile {done} of {total}.", quiet=request.quiet)
            bars[0].to(done)

        try:
            yield progress
        except KeyboardInterrupt:
            stack.close()
            console.note("The same command goes on from here.", quiet=request.quiet)
            raise
        if not bars:
            console.note("Nothing was left to do: it is complete already.", quiet=request.quiet)


def estimate(request: Request) -> None:
    """Tell how many tiles, how large and how long; write nothing."""
    with _opened(request) as (imagery, embedder, options):
        job = Job.of(imagery, embedder, options)
        require_allowed(imagery.info, embedder.info, job.view, options)
        told = estimates.estimate(job)
    console.result(
        f"{told.tiles} tiles of {job.tiling.footprint_m:g} m every {job.tiling.stride_m:g} m "
        f"(fewer where there is no data), {console.size_text(told.bytes)} on disk, "
        f"about {console.duration_text(told.seconds)} on this machine. Nothing was written."
    )
    free = shutil.disk_usage(request.out.absolute().parent).free
    if free < told.bytes:
        console.warn(f"only {console.size_text(free)} are free where {request.out} would be.")
    if told.is_long:
        console.result(
            f"That is long. --stride {told.stride_for_an_hour_m:g} takes about an hour; or index a "
            "smaller area: --near LAT,LON --within KM."
        )


def verify(paths: Sequence[Path]) -> None:
    """Compare every file of the indexes with its checksum."""
    for path in paths:
        index = Index.open(path)
        files = index.verify()
        console.result(f"{path} is whole: {index.count} windows, {files} files.")


def _summary(index: Index) -> str:
    manifest = index.manifest
    size = sum(facts.bytes for part in manifest.segments for facts in part.files.values())
    imagery = manifest.imagery
    credit = " ".join(text for text in (imagery.attribution, imagery.date) if text)
    return (
        f"{index.path}: {index.count} windows of {manifest.footprint_m:g} m every "
        f"{manifest.stride_m:g} m, {manifest.area_km2:.3g} km2, {console.size_text(size)}.\n"
        + (f"Imagery: {credit}\n" if credit else "")
        + f"Now: crossview locate PHOTO --index {index.path}"
    )
