"""``crossview data``: check a data set, find repeated pictures, keep decoded ones on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from crossview.cli import console
from crossview.errors import BadData, CannotWrite, InvalidValue, UnknownName, match_name
from crossview.files import measure_free_bytes

if TYPE_CHECKING:
    from crossview.catalogue import Benchmark
    from crossview.pairs.cache import CacheProgress
    from crossview.pairs.checks import Finding, Repeats
    from crossview.pairs.loading import Unreadable
    from crossview.pairs.reading import Files
    from crossview.pairs.table import PairTable

SHOWN = 20  # missing or unreadable pictures that are named

data = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Check a data set, find repeated pictures in it, or keep its pictures decoded on disk.",
)


@dataclass(frozen=True, kw_only=True)
class CacheCommand:
    """The command line of ``data cache``, read."""

    data: str
    method: str
    recipe: str
    settings: tuple[str, ...]
    splits: tuple[str, ...]  # none: all
    decoding: str
    out: Path
    workers: int
    skip_unreadable: bool


Quiet = Annotated[bool, typer.Option("--quiet", help="Only errors and results.")]
Workers = Annotated[int, typer.Option(help="Reading processes; 0: none.")]


@data.command()
def check(
    name: Annotated[str, typer.Argument(help="A data set, such as cvusa; or pairs.")],
    root: Annotated[Path, typer.Option(help="Its folder; for pairs, the file.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Open every picture, not a sample.")
    ] = False,
    sample: Annotated[int, typer.Option(help="How many pictures to open.")] = 200,
    workers: Workers = 2,
    quiet: Quiet = False,
) -> None:
    """Show what is there, what is missing and where it belongs, and open pictures.

    The exit code is 1 if something has to be corrected.
    """
    problems = _check_data(name, root, None if everything else sample, workers, quiet)
    if problems:
        raise typer.Exit(1)


@data.command()
def dedup(
    name: Annotated[str, typer.Argument(help="A data set, such as cvusa.")],
    root: Annotated[Path, typer.Option(help="Its folder.")],
    workers: Workers = 2,
    quiet: Quiet = False,
) -> None:
    """Find pictures with equal pixels; for CVUSA, write lists without them."""
    _find_repeats(name, root, workers, quiet)


@data.command()
def cache(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    data_name: Annotated[str, typer.Option("--data", help="NAME:ROOT, as for train.")],
    method: Annotated[str, typer.Option(help="Whose pictures: a method, or a page ./mine.py")],
    out: Annotated[Path, typer.Option(help="Folder of the cache; give it to train --cache.")],
    recipe: Annotated[str, typer.Option(help="Published settings, such as cvusa or vigor.")] = "",
    config: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's Config; repeatable.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split; repeatable.")] = None,
    decoding: Annotated[
        str, typer.Option(help="exact: as the papers resize. fast: DCT-scaled, then by area.")
    ] = "exact",
    workers: Workers = 2,
    skip_unreadable: Annotated[
        bool,
        typer.Option("--skip-unreadable", help="Report unreadable pictures, do not fail."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print how large it is.")] = False,
    quiet: Quiet = False,
) -> None:
    """Decode and resize every picture once. Prints the size first; a stopped run continues."""
    command = CacheCommand(
        data=data_name,
        method=method,
        recipe=recipe,
        settings=tuple(config or ()),
        splits=tuple(split or ()),
        decoding=decoding,
        out=out,
        workers=workers,
        skip_unreadable=skip_unreadable,
    )
    lost = _fill_cache(command, dry_run=dry_run, quiet=quiet)
    if lost:
        console.warn(f"{lost} pictures cannot be read; they are not in the cache.")


def _check_data(name: str, root: Path, sample: int | None, workers: int, quiet: bool) -> int:
    """Print the findings; return the number of problems. ``sample`` None: open everything."""
    from crossview import catalogue

    if sample is not None and sample < 0:
        raise InvalidValue(f"--sample must be at least 0, got {sample}.")
    name = match_name("data set", name, (*catalogue.BENCHMARKS, "pairs"))
    official = catalogue.benchmark(name) if name != "pairs" else None
    problems = _check_layout(root, official) if official else 0
    try:
        tables = _load_tables(root, official)
    except BadData as problem:
        console.print_result(f"problem  {problem}")
        return problems + 1
    problems += _check_numbers(tables, official)
    problems += _check_facts(tables, own=official is None)
    problems += _check_pictures(tables, sample, workers, quiet)
    console.print_result("Nothing to correct." if not problems else f"To correct: {problems}.")
    return problems


def _check_layout(root: Path, official: Benchmark) -> int:
    from crossview.pairs.checks import check_parts

    return _print_findings(check_parts(root, official.layout(root)))


def _print_findings(findings: Iterable[Finding]) -> int:
    problems = 0
    for finding in findings:
        console.print_result(f"{finding.state:8} {finding.text}")
        problems += finding.problem
    return problems


def _load_tables(root: Path, official: Benchmark | None) -> Mapping[str, PairTable]:
    from crossview.catalogue import open_data

    if official is not None:
        return official.load(root, check_files=False)
    return open_data(f"pairs:{root}").tables


def _check_numbers(tables: Mapping[str, PairTable], official: Benchmark | None) -> int:
    from crossview.pairs.official_lists import compare_counts

    for split, table in tables.items():
        console.print_result(
            f"there    split {split}: {len(table.ground):,} ground pictures, "
            f"{len(table.aerial):,} aerial pictures, {len(table):,} matches"
        )
    counts = official.counts() if official else {}
    wrong = list(compare_counts(tables, counts))
    for text in wrong:
        console.print_result(f"differs  {text}")
    for split in counts:
        if split not in tables:
            console.print_result(f"missing  split {split}")
            wrong.append(split)
    return len(wrong)


def _check_facts(tables: Mapping[str, PairTable], *, own: bool) -> int:
    from crossview.pairs.checks import check_facts, check_kinds, check_places, check_system_files

    checks = (check_facts, check_system_files, *([check_kinds, check_places] if own else []))
    return sum(_print_findings(check(tables)) for check in checks)


def _check_pictures(
    tables: Mapping[str, PairTable], sample: int | None, workers: int, quiet: bool
) -> int:
    from crossview.pairs.checks import decode_all, draw_pictures, find_absent, list_pictures

    named = list_pictures(tables.values())
    missing = find_absent(named)
    _print_first("missing", [f"{path}, named in a list" for path in missing])
    absent_paths = set(missing)
    pictures = [(side, path) for side, path in named if path not in absent_paths]
    chosen = pictures if sample is None else draw_pictures(pictures, sample)
    broken: list[Unreadable] = []
    with console.show_progress("open", len(chosen), unit="pictures", quiet=quiet) as bar:
        for done, unreadable in decode_all(chosen, workers):
            broken += unreadable
            bar.update(done)
    _print_first("broken", [f"{picture.path}: {picture.reason}" for picture in broken])
    more = "" if len(chosen) == len(pictures) else " To open all of them, add --all."
    console.print_result(
        f"opened   {len(chosen):,} of {len(pictures):,} pictures; "
        f"{len(broken)} cannot be read.{more}"
    )
    return len(broken) + len(missing)


def _print_first(state: str, texts: Sequence[str]) -> None:
    """A line for each of the first few, then how many more there are."""
    for text in texts[:SHOWN]:
        console.print_result(f"{state:8} {text}")
    if len(texts) > SHOWN:
        console.print_result(f"{state:8} ... and {len(texts) - SHOWN} more")


def _find_repeats(name: str, root: Path, workers: int, quiet: bool) -> None:
    """Report repeats of every split, and write cleaned lists where the page knows how."""
    from crossview.catalogue import benchmark
    from crossview.pairs.checks import find_repeats

    official = benchmark(name)
    tables = official.load(root)
    for split, table in tables.items():
        ground = _digest(table, split, "ground", workers, quiet)
        aerial = _digest(table, split, "aerial", workers, quiet)
        repeated = find_repeats(ground, aerial, table.pairs)
        console.print_result(_summarize_repeats(split, table, repeated))
        if hasattr(official.page, "write_cleaned"):
            path = official.page.write_cleaned(root, split, repeated.kept)
            console.print_result(f"  written: {path}")


def _digest(table: PairTable, split: str, side: str, workers: int, quiet: bool) -> list[str]:
    from crossview.pairs.checks import digest_pixels
    from crossview.pairs.loading import Unreadable, refuse_unreadable

    paths = getattr(table, side)
    digests: list[str] = []
    broken: list[Unreadable] = []
    title = f"{split}, {side}"
    with console.show_progress(title, len(paths), unit="pictures", quiet=quiet) as bar:
        for batch in digest_pixels(side, paths, workers):
            broken += [digest for digest in batch if isinstance(digest, Unreadable)]
            digests += [digest for digest in batch if isinstance(digest, str)]
            bar.advance(len(batch))
    refuse_unreadable(broken, len(paths))
    return digests


def _summarize_repeats(split: str, table: PairTable, repeated: Repeats) -> str:
    lines = [
        f"split {split}: {len(table):,} rows, {len(repeated.kept):,} without repeats "
        f"({len(table) - len(repeated.kept):,} dropped)"
    ]
    for side, groups in (("ground", repeated.ground), ("aerial", repeated.aerial)):
        copies = sum(len(group) - 1 for group in groups)
        lines.append(f"  {copies:,} {side} pictures repeat an earlier one")
        ids = table.ground_ids() if side == "ground" else table.aerial_ids()
        lines += [f"    {' = '.join(ids[i] for i in group)}" for group in groups[:5]]
        lines += [f"    ... and {len(groups) - 5} more groups"] if len(groups) > 5 else []
    return "\n".join(lines)


def _fill_cache(command: CacheCommand, *, dry_run: bool, quiet: bool) -> int:
    """Print the size, then write what is missing; return how many pictures could not be read."""
    from crossview.pairs.loading import refuse_unreadable

    splits = list(_split_files(command))
    _print_size(command, [files for _, files in splits], dry_run)
    if dry_run:
        return 0
    lost, total = [], 0
    for split, files in splits:
        filled = _fill_split(command, split, files, quiet)
        lost += list(filled.unreadable)
        total += filled.total
    if not command.skip_unreadable:
        refuse_unreadable(lost, total)
    for picture in lost:
        console.note(f"{picture.path}: {picture.reason}", quiet=quiet)
    console.print_result(str(command.out))
    return len(lost)


def _split_files(command: CacheCommand) -> Iterator[tuple[str, Files]]:
    from crossview import catalogue
    from crossview.pairs.reading import Decoding, Files

    modes = get_args(Decoding)
    if command.decoding not in modes:
        raise InvalidValue(f"--decoding is {command.decoding!r}; allowed: {', '.join(modes)}.")
    _, page, config = console.open_method(command.method, command.recipe, command.settings)
    views = page.views(config)
    tables = catalogue.open_data(command.data, check_files=not command.skip_unreadable).tables
    for split in command.splits or tuple(tables):
        if split not in tables:
            raise UnknownName("split", split, tables)
        yield split, Files(tables[split], views, command.decoding)  # type: ignore[arg-type]


def _fill_split(command: CacheCommand, split: str, files: Files, quiet: bool) -> CacheProgress:
    from crossview.pairs.cache import fill_cache

    with console.show_progress(split, unit="pictures", quiet=quiet) as bar:
        for filled in fill_cache(command.out, files, command.workers):
            bar.update(filled.done, filled.total)
    return filled


def _print_size(command: CacheCommand, all_files: list[Files], dry_run: bool) -> None:
    from crossview.pairs.cache import estimate_cache, list_packs

    rooms = [estimate_cache(files) for files in all_files]
    needed = sum(room.bytes for room in rooms)
    present = sum(path.stat().st_size for path in list_packs(command.out))
    free = measure_free_bytes(command.out)
    about = "" if all(room.exact for room in rooms) else "about "
    there = f", {console.format_size(present)} of packs are there" if present else ""
    room, left = about + console.format_size(needed), console.format_size(free)
    console.print_result(f"{command.out}: {room} for all pictures{there}; {left} are free.")
    if needed - present > free and not dry_run:
        raise CannotWrite(
            f"The cache needs {room}, and {left} are free where {command.out} lies.\n"
            "Choose another --out, fewer splits, or a method with smaller pictures."
        )
