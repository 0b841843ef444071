"""``crossview index``: imagery of a region in, ``region.cvx`` out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.cli.imagery import (
    AcceptLicence,
    AreaFile,
    Bbox,
    FetchOptions,
    choose_demand,
    fetch_sources,
)
from crossview.errors import InvalidValue, UsageError

if TYPE_CHECKING:
    from crossview.imagery.provenance import SourceOptions
    from crossview.index.build import Crew, Estimate, IndexJob
    from crossview.index.index_options import IndexOptions
    from crossview.index.store import Index
    from crossview.model import Model, ModelInfo

SEARCHED = 2048  # tiles that a photo is compared with, to time it
UNTRIED = 0.05  # how far a footprint may be from the model's without a warning


@dataclass(frozen=True, kw_only=True)
class IndexCommand:
    """The command line, read."""

    sources: tuple[Path, ...]
    out: Path
    model: str | None
    source_options: SourceOptions
    index_options: IndexOptions
    threads: int
    workers: int
    where: str | None
    dry_run: bool  # then workers are such as this process, and share nothing
    add: bool
    quiet: bool

    @property
    def goes_on(self) -> bool:
        """Whether an index is there whose model and windows are meant."""
        return self.add or (self.index_options.replace and self.out.exists())

    @property
    def crew(self) -> Crew | None:
        """Who embeds beside this process, or instead of it."""
        if self.where is None and (self.workers <= 1 or self.dry_run):
            return None
        from crossview.index.workers import choose_crew

        return choose_crew(self.where, self.workers, self.threads)

    @property
    def own_threads(self) -> int:
        """Threads of the network in this process."""
        crew = self.crew
        return self.threads if crew is None else crew.threads


# Options of every verb that reads imagery, or makes an index of it.
Footprint = Annotated[
    float | None, typer.Option(help="Side of a window in metres. Default: the model's.")
]
Stride = Annotated[
    float | None, typer.Option(help="Metres between windows. Default: footprint / 4.")
]
AllowCoarse = Annotated[
    bool,
    typer.Option(
        "--allow-coarse", help="Accept imagery coarser than the model's; the index is marked."
    ),
]
DemoOnly = Annotated[
    bool,
    typer.Option(
        "--demo-only", help="Accept the town's model on real imagery; the index is marked."
    ),
]
Bands = Annotated[
    str | None, typer.Option(help="Bands for red, green, blue, such as 4,3,2; or one.")
]
Stretch = Annotated[
    str | None, typer.Option(help="Percentiles that become black and white; 2,98 for 16 bits.")
]
Crs = Annotated[
    str | None, typer.Option(help="CRS of all files, whatever they say, such as EPSG:25833.")
]
Attribution = Annotated[str | None, typer.Option(help="Whose imagery it is.")]
Date = Annotated[str | None, typer.Option(help="When the imagery was taken.")]


def index(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    sources: Annotated[
        list[str] | None,  # a Path would eat a slash of an address
        typer.Argument(
            help="GeoTIFF, JPEG 2000, MBTiles or PMTiles files; an XYZ folder; a folder or CSV of "
            "georeferenced images; an address of imagery. With --verify: indexes.",
            metavar="SOURCE",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The index to make, such as region.cvx.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model folder, or a packaged name. Default: the one for this imagery."),
    ] = None,
    footprint: Footprint = None,
    stride: Stride = None,
    near: Annotated[str | None, typer.Option(help="Only around LAT,LON; needs --within.")] = None,
    within: Annotated[float, typer.Option(help="Radius of that area in kilometres.")] = 0.0,
    bbox: Bbox = None,
    area: AreaFile = None,
    accept_licence: AcceptLicence = False,
    bands: Bands = None,
    stretch: Stretch = None,
    crs: Crs = None,
    metres_per_px: Annotated[
        float | None, typer.Option(help="For images of a CSV whose rows do not give it.")
    ] = None,
    width_m: Annotated[float | None, typer.Option(help="The same for the width in metres.")] = None,
    zoom: Annotated[
        int | None, typer.Option(help="Level of a tile pyramid. Default: what the model needs.")
    ] = None,
    tms: Annotated[
        bool | None,
        typer.Option(
            "--tms/--no-tms", help="Rows of a tile pyramid count from the south, or the north."
        ),
    ] = None,
    nodata: Annotated[
        str | None, typer.Option(help="Pixel value that means no data: V, or R,G,B.")
    ] = None,
    allow_vrt: Annotated[
        bool,
        typer.Option("--allow-vrt", help="Read VRT files that list local files in their folder."),
    ] = False,
    attribution: Attribution = None,
    date: Date = None,
    allow_coarse: AllowCoarse = False,
    demo_only: DemoOnly = False,
    add: Annotated[bool, typer.Option("--add", help="Add to the index --out.")] = False,
    heights: Annotated[
        Path | None,
        typer.Option(
            help="Raster of heights above the ground, or of the surface, by which skylines are "
            "checked. Without --out: given to the indexes SOURCE."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the index --out.")
    ] = False,
    replace_: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace the index --out, and embed anew only units whose imagery has changed.",
        ),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start again instead of continuing a stopped run.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how many tiles, how large and how long.")
    ] = False,
    area_km2: Annotated[
        float | None,
        typer.Option(help="With --dry-run: of an area of so many km2; SOURCE may be a sample."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare an index with its checksums.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    runtime: console.RuntimeName = "onnxruntime",
    precision: console.PrecisionName = "float32",
    workers: Annotated[
        int,
        typer.Option(
            help="Processes that embed, which share the threads; 0 and 1: this one alone."
        ),
    ] = 1,
    on: Annotated[
        str | None,
        typer.Option(
            help="Who embeds. elsewhere: whoever starts crossview worker; this process only waits. "
            "ray, or ray:ADDRESS: a Ray cluster (extra cluster)."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Index imagery, so that photos can be located in it.

    If it is stopped, the same command continues. An index is complete or absent.
    """
    from crossview.geo.perimeters import read_area
    from crossview.geo.points import parse_latlon
    from crossview.index.index_options import IndexOptions

    sources = sources or []
    named = any(given is not None for given in (bbox, area, near, area_km2))
    if not sources and not (dry_run and named):
        raise UsageError("Give imagery to index, for example: crossview index city.tif --out ...")
    if area_km2 is not None and not (dry_run and 0.0 < area_km2 < math.inf):
        raise InvalidValue(f"--area-km2 {area_km2:g}: give km2, and --dry-run.")
    if verify:
        _verify([Path(source) for source in sources])
        return
    if heights is not None and out is None:
        _give_heights([Path(source) for source in sources], heights)
        return
    if out is None:
        raise UsageError("Give the index to write, for example: --out region.cvx")
    databases, out = _choose_folder(sources, out, overwrite=overwrite or replace_, add=add)
    if databases is not None and (out / "manifest.json").is_file():
        _fill(out, databases, restart=restart, quiet=quiet)
        return
    source_options = read_source_options(
        bands=bands,
        stretch=stretch,
        crs=crs,
        metres_per_px=metres_per_px,
        width_m=width_m,
        zoom=zoom,
        tms=tms,
        nodata=nodata,
        allow_vrt=allow_vrt or None,
        attribution=attribution,
        date=date,
    )
    index_options = IndexOptions(
        footprint_m=footprint,
        stride_m=stride,
        near=None if near is None else parse_latlon(near),
        within_m=within * 1000.0,
        allow_coarse=allow_coarse,
        demo_only=demo_only,
        heights=heights,
        runtime=runtime,
        precision=precision,
        restart=restart,
        overwrite=overwrite,
        replace=replace_,
    )
    paths = sources and fetch_sources(
        sources,
        (bbox, area, near, within),
        lambda: choose_demand(
            model or _find_model(out, made=add or (replace_ and out.exists())),
            footprint,
            zoom=zoom,
            allow_coarse=allow_coarse,
        ),
        FetchOptions(accept_licence=accept_licence, dry_run=dry_run, quiet=quiet),
    )
    command = IndexCommand(
        sources=tuple(map(Path, paths or ())),
        out=out,
        model=model,
        source_options=source_options,
        index_options=index_options,
        threads=threads,
        workers=workers,
        where=on,
        dry_run=dry_run,
        add=add,
        quiet=quiet,
    )
    if dry_run and not paths:
        perimeter = read_area(bbox, area, near, within)
        _estimate_area(command, area_km2 or (perimeter.measure_km2() if perimeter else 0.0))
        return
    if dry_run:
        _estimate(command, area_km2)
        return
    _build(command)
    if databases is not None:
        _fill(out, databases, restart=restart, quiet=quiet)


def _choose_folder(
    sources: Sequence[str], out: Path, *, overwrite: bool, add: bool
) -> tuple[str | None, Path]:
    """The databases that an index is put into, and the folder that it is taken from or made in."""
    if ":/" not in str(out):
        return None, out
    from crossview.index.store import find_engine

    if find_engine(out) is None:
        return None, out
    from crossview.index.postgresql import list_taken, parse_addresses

    if add:
        raise UsageError(
            "--add does not go with a database: add to the index in its folder, then put that into "
            "the database with --overwrite."
        )
    taken = list_taken(out)
    if taken and not overwrite:
        raise UsageError(
            f"There is an index in {taken[0]} already.\n"
            "Replace it with --overwrite, or give another name after #."
        )
    if len(sources) == 1 and (Path(sources[0]) / "manifest.json").is_file():
        return str(out), Path(sources[0])
    return str(out), Path(f"{parse_addresses(out)[0].schema}.cvx")


def _fill(folder: Path, databases: str, *, restart: bool, quiet: bool) -> None:
    """Put an index in a folder into databases."""
    from crossview.index.postgresql import fill_database
    from crossview.index.store import Index

    index = Index.open(folder)
    with console.show_progress("Putting", index.count, unit="windows", quiet=quiet) as bar:
        filled = fill_database(
            index, databases, restart=restart, progress=lambda done, _: bar.update(done)
        )
    filled.close()
    console.print_result(
        f"{filled.name}: {filled.count} windows.\n"
        f"Next: crossview locate PHOTO --index '{filled.name}'"
    )


def _build(command: IndexCommand) -> None:
    """Make the index, or add to it, with a progress bar."""
    from crossview.index.build import add_to_index, build_index
    from crossview.index.store import Index

    replaces = command.index_options.replace and command.out.exists()
    before = Index.open(command.out) if replaces else None
    make, crew = add_to_index if command.add else build_index, command.crew
    with _open(command) as job, _show_progress(command) as progress:
        _tell_needs(job, command)
        if command.where == "elsewhere":
            console.note(f"Waiting for: crossview worker {command.out}", quiet=command.quiet)
        index = make(
            job.imagery,
            job.embedder,
            command.out,
            options=job.options,
            progress=progress,
            crew=crew,
        )
        trained_m, said = job.embedder.info.aerial.footprint_m, job.warnings
    if trained_m is None:
        console.warn("the ground width of the images that the model was trained on is unknown.")
    elif abs(index.manifest.footprint_m / trained_m - 1.0) > UNTRIED:
        console.warn(f"the model was trained on windows of {trained_m:g} m; others are untried.")
    for warning in (text for text in index.manifest.warnings if text not in said):
        console.warn(f"{index.path}: {warning}.")
    if before is not None:
        console.print_result(_tell_kept(before, index))
    console.print_result(_summarize(index))


def _tell_kept(before: Index, index: Index) -> str:
    """How much of an index is what it was before it was replaced."""
    known = {facts for segment in before.manifest.segments for facts in segment.files.values()}
    kept = sum(
        segment.windows
        for segment in index.manifest.segments
        if known.issuperset(segment.files.values())
    )
    return f"{kept} of {index.count} windows are as they were; {index.count - kept} are new."


def _tell_needs(job: IndexJob, command: IndexCommand) -> None:
    """What a model takes that sees each cell at several scales, before hours are spent on it."""
    from crossview.index.build import estimate_build
    from crossview.index.index_options import require_allowed

    if not job.view.spans_m or command.quiet:
        return
    require_allowed(job.imagery.info, job.embedder.info, job.view, job.options)
    needs = estimate_build(job)
    per_km2 = needs.seconds / max(needs.windows, 1) * 1e6 / job.tiling.stride_m**2
    console.note(
        f"Up to {needs.windows} cells of {job.tiling.footprint_m:g} m in the imagery's own rows, "
        f"each seen {max(job.view.spans_m) / 2.0:.0f} m around: about "
        f"{console.format_duration(needs.seconds)} on this machine "
        f"({console.format_duration(per_km2)} a km2), {console.format_size(needs.bytes)}."
    )


@contextmanager
def _open(command: IndexCommand) -> Iterator[IndexJob]:
    """Imagery and model fitted to each other, and what is to be said of them."""
    from crossview.imagery.sources import find_borders
    from crossview.index.build import open_job
    from crossview.index.store import Index
    from crossview.model import open_index_model

    model: str | Model | None = command.model
    options = command.index_options
    if model is None and command.goes_on:
        manifest = Index.open(command.out).manifest
        made_by = manifest.model.name_or_path
        model = open_index_model(
            made_by, command.out, threads=command.own_threads, arithmetic=options.arithmetic
        )
        if options.replace:
            options = replace(
                options,
                footprint_m=options.footprint_m or manifest.footprint_m,
                stride_m=options.stride_m or manifest.stride_m,
            )
    with open_job(
        command.sources,
        model,
        options,
        command.source_options,
        threads=command.own_threads,
    ) as job:
        imagery = job.imagery
        if imagery.ignored:
            console.note(
                f"{len(imagery.ignored)} pictures without a place were left out, "
                f"such as {imagery.ignored[0].name}.",
                quiet=command.quiet,
            )
        for note in imagery.notes:
            console.note(f"{note}.", quiet=command.quiet)
        for warning in job.warnings:
            console.warn(f"{warning}.")
        for note in job.height_notes:
            console.note(f"{note}.", quiet=command.quiet)
        if imagery.info.synthetic is None:
            for border in find_borders(imagery.parts):
                console.warn(f"{border}.")
        yield job


def _find_model(out: Path, *, made: bool) -> str | None:
    """The model that made the index that is added to, or replaced."""
    from crossview.index.store import Index

    return Index.open(out).manifest.model.name_or_path if made else None


@contextmanager
def _show_progress(command: IndexCommand) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears with the first report, so that it knows where the work begins."""
    quiet = command.quiet
    with ExitStack() as stack:
        bars: list[console.Bar] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bar = console.show_progress("Indexing", total, unit="tiles", done=done, quiet=quiet)
                bars.append(stack.enter_context(bar))
                if done:
                    console.note(f"Continuing at tile {done} of {total}.", quiet=quiet)
            bars[0].update(done)

        try:
            yield progress
        except KeyboardInterrupt:
            stack.close()
            console.note("Run the same command again to continue.", quiet=quiet)
            raise
        if not bars:
            console.note("Nothing to do: the index is complete already.", quiet=quiet)


def _estimate(command: IndexCommand, km2: float | None) -> None:
    """Print how many tiles, how large and how long; write nothing."""
    from crossview.index.build import estimate_build
    from crossview.index.index_options import require_allowed

    with _open(command) as job:
        require_allowed(job.imagery.info, job.embedder.info, job.view, job.options)
        needs = estimate_build(job)
        if km2 is not None:
            needs = needs.scale_to(km2, job.options)
        search_s = _time_search(job.embedder.info)
    _tell_estimate(needs, command, f"{job.tiling.footprint_m:g}", search_s)


def _estimate_area(command: IndexCommand, km2: float) -> None:
    """The same without imagery: of an area by address, or of a number of km2."""
    from crossview.index.build import estimate_area
    from crossview.index.index_options import choose_tiling
    from crossview.model import OF_EARTH, open_model

    options = command.index_options
    model = open_model(command.model or OF_EARTH, threads=command.own_threads)
    needs = estimate_area(model, options, km2)
    footprint = f"{choose_tiling(model.info, options).footprint_m:g}"
    _tell_estimate(needs, command, footprint, _time_search(model.info))


def _time_search(info: ModelInfo) -> float:
    """Seconds to compare one photo of 90 degrees with one tile, on this machine."""
    import time

    import numpy as np

    from crossview.index.similarity import score_query

    rng, bins = np.random.default_rng(0), info.azimuth_bins
    vectors = rng.standard_normal((SEARCHED, info.dim), np.float32)
    seen = np.zeros(bins, np.float32)
    seen[: max(1, bins // 4)] = 1.0
    score_query(vectors[0], vectors, bins, seen)
    start = time.perf_counter()
    score_query(vectors[0], vectors, bins, seen)
    return (time.perf_counter() - start) / len(vectors)


def _tell_estimate(
    needs: Estimate, command: IndexCommand, footprint_m: str, search_s: float
) -> None:
    say, last = console.format_duration, command.workers
    threads = f"{command.own_threads} threads" if command.own_threads else "all threads"
    each = f"{say(needs.seconds)} on this machine" if last <= 1 else (
        f"{say(needs.seconds)} for one process like this, {say(needs.seconds / last)} for each of "
        f"{last} that have as much to themselves"
    )  # fmt: skip
    console.print_result(
        f"{needs.windows} tiles of {footprint_m} m every {needs.stride_m:g} m "
        f"(fewer where there is no data), {console.format_size(needs.bytes)} on disk, "
        f"about {each}. Nothing was written."
    )
    parts = f", in {needs.shards} shards by geography" if needs.shards > 1 else ""
    console.print_result(
        f"{needs.units} units for workers{parts}. Measured: {needs.rate:.3g} tiles/s "
        f"with {threads}, on {needs.timed}."
    )
    aside = f"; {needs.shards} shards side by side: {say(needs.windows * search_s / needs.shards)}"
    console.print_result(
        f"One photo of 90 degrees against all tiles: {needs.windows * search_s:.2g} s on this "
        f"machine ({1e6 * search_s:.2g} us a tile){aside if needs.shards > 1 else ''}."
    )
    console.warn_of_disk(needs.bytes, command.out)
    if needs.is_long:
        day = math.ceil(needs.seconds / 86_400.0)
        console.print_result(
            f"That is long. {day} workers take a day; --stride {needs.stride_for_an_hour_m:g} "
            "takes about an hour alone. Or index a smaller area: --near LAT,LON --within KM."
        )


def _verify(paths: Sequence[Path]) -> None:
    """Compare every file of the indexes with its checksum."""
    from crossview.index.selection import require_held
    from crossview.index.store import Index

    for path in paths:
        index = require_held(Index.open(path), "--verify")
        files = index.verify()
        console.print_result(f"{path} is intact: {index.count} windows, {files} files.")


def _give_heights(paths: Sequence[Path], heights: Path) -> None:
    """Let indexes know the heights of a raster."""
    from crossview.index.build import give_heights
    from crossview.index.store import Index

    for path in paths:
        calibrated = Index.open(path).manifest.calibration is not None
        index = give_heights(path, heights)
        console.print_result(f"{path} knows the heights of {heights.name}: {_describe(index)}.")
        if calibrated:
            console.warn(
                f"{path} was calibrated without heights; that no longer holds. Calibrate again."
            )


def _describe(index: Index) -> str:
    """How much the heights of an index are."""
    facts = index.manifest.heights
    parts = () if facts is None else facts.parts
    size = sum(file.bytes for part in parts for file in part.files.values())
    return f"{sum(part.tiles for part in parts)} tiles, {console.format_size(size)}"


def _summarize(index: Index) -> str:
    manifest = index.manifest
    size = sum(facts.bytes for part in manifest.parts for facts in part.files.values())
    imagery = manifest.imagery
    credit = " ".join(text for text in (imagery.attribution, imagery.date) if text)
    return (
        f"{index.path}: {index.count} windows of {manifest.footprint_m:g} m every "
        f"{manifest.stride_m:g} m, {manifest.area_km2:.3g} km2, {console.format_size(size)}.\n"
        + (f"Imagery: {credit}\n" if credit else "")
        + (f"Heights: {manifest.heights.source}, {_describe(index)}\n" if manifest.heights else "")
        + f"Next: crossview locate PHOTO --index {index.path}"
    )


def read_source_options(
    *,
    bands: str | None = None,
    stretch: str | None = None,
    nodata: str | None = None,
    **others: Any,
) -> SourceOptions:
    """What options of the command line say about imagery; InvalidValue where they cannot be."""
    from crossview.imagery.provenance import SourceOptions

    return SourceOptions(
        bands=_read_bands(bands),
        stretch=_read_stretch(stretch),
        nodata=_read_nodata(nodata),
        **others,
    )


def _read_bands(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as problem:
        raise InvalidValue(f"--bands {text}: give band numbers, for example 4,3,2.") from problem


def _read_nodata(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise InvalidValue(f"--nodata {text}: give one number, or three as in 255,255,255.")
    return values


def _read_stretch(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as problem:
        raise InvalidValue(f"--stretch {text}: give two percentiles, such as 2,98.") from problem
    return low, high
