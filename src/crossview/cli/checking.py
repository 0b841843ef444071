"""What ``crossview data check`` does and prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from crossview.cli import console
from crossview.errors import BadData, InvalidValue, match_name

if TYPE_CHECKING:
    from crossview.pairs.pictures import Unreadable
    from crossview.pairs.table import PairTable
    from crossview.wiring import Benchmark

_SHOWN = 20  # missing or unreadable pictures that are named


def check_data(name: str, root: Path, sample: int | None, workers: int, quiet: bool) -> int:
    """Print what is found; returns the number of problems. ``sample`` None: open everything."""
    from crossview import wiring

    if sample is not None and sample < 0:
        raise InvalidValue(f"--sample must be at least 0, got {sample}.")
    name = match_name("data set", name, (*wiring.BENCHMARKS, "pairs"))
    official = wiring.benchmark(name) if name != "pairs" else None
    problems = _parts(root, official) if official else 0
    try:
        tables = _tables(root, official)
    except BadData as problem:
        console.result(f"problem  {problem}")
        return problems + 1
    problems += _numbers(tables, official)
    problems += _facts(tables, own=official is None)
    problems += _pictures(tables, sample, workers, quiet)
    console.result("Nothing to put right." if not problems else f"To put right: {problems}.")
    return problems


def _parts(root: Path, official: Benchmark) -> int:
    from crossview.pairs.checking import check_parts

    problems = 0
    for finding in check_parts(root, official.layout(root)):
        console.result(f"{finding.state:8} {finding.text}")
        problems += finding.problem
    return problems


def _tables(root: Path, official: Benchmark | None) -> Mapping[str, PairTable]:
    from crossview.wiring import open_data

    if official is not None:
        return official.load(root, check_files=False)
    return open_data(f"pairs:{root}").tables


def _numbers(tables: Mapping[str, PairTable], official: Benchmark | None) -> int:
    from crossview.pairs.listing import differences

    for split, table in tables.items():
        console.result(
            f"there    split {split}: {len(table.ground):,} ground pictures, "
            f"{len(table.aerial):,} aerial pictures, {len(table):,} matches"
        )
    counts = official.counts() if official else {}
    wrong = list(differences(tables, counts))
    for text in wrong:
        console.result(f"differs  {text}")
    for split in counts:
        if split not in tables:
            console.result(f"missing  split {split}")
            wrong.append(split)
    return len(wrong)


def _facts(tables: Mapping[str, PairTable], *, own: bool) -> int:
    from crossview.pairs.checking import (
        check_facts,
        check_kinds,
        check_places,
        check_system_files,
    )

    problems = 0
    for check in (check_facts, check_system_files, *([check_kinds, check_places] if own else [])):
        for finding in check(tables):
            console.result(f"{finding.state:8} {finding.text}")
            problems += finding.problem
    return problems


def _pictures(
    tables: Mapping[str, PairTable], sample: int | None, workers: int, quiet: bool
) -> int:
    from crossview.pairs.checking import absent, open_all, pictures_of, some_of

    named = pictures_of(tables.values())
    missing = absent(named)
    for path in missing[:_SHOWN]:
        console.result(f"missing  {path}, named in a list")
    if len(missing) > _SHOWN:
        console.result(f"missing  ... and {len(missing) - _SHOWN} more")
    gone = set(missing)
    pictures = [(side, path) for side, path in named if path not in gone]
    chosen = pictures if sample is None else some_of(pictures, sample)
    broken: list[Unreadable] = []
    with console.progress("open", len(chosen), unit="pictures", quiet=quiet) as bar:
        for done, found in open_all(chosen, workers):
            broken += found
            bar.to(done)
    for one in broken[:_SHOWN]:
        console.result(f"broken   {one.path}: {one.reason}")
    if len(broken) > _SHOWN:
        console.result(f"broken   ... and {len(broken) - _SHOWN} more")
    more = "" if len(chosen) == len(pictures) else " --all opens every one."
    console.result(
        f"opened   {len(chosen):,} of {len(pictures):,} pictures; "
        f"{len(broken)} cannot be read.{more}"
    )
    return len(broken) + len(missing)
