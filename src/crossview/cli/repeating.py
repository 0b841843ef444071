"""What ``crossview data dedup`` does and prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crossview.cli import console

if TYPE_CHECKING:
    from crossview.pairs.pictures import Unreadable
    from crossview.pairs.repeats import Repeats
    from crossview.pairs.table import PairTable


def find_repeats(name: str, root: Path, workers: int, quiet: bool) -> None:
    """Report repeats of every split, and write cleaned lists where the page knows how."""
    from crossview.pairs.repeats import repeats
    from crossview.wiring import benchmark

    official = benchmark(name)
    tables = official.load(root)
    for split, table in tables.items():
        ground = _digests(table, split, "ground", workers, quiet)
        aerial = _digests(table, split, "aerial", workers, quiet)
        found = repeats(ground, aerial, table.pairs)
        console.result(_summary(split, table, found))
        if hasattr(official.page, "write_cleaned"):
            path = official.page.write_cleaned(root, split, found.kept)
            console.result(f"  written: {path}")


def _digests(table: PairTable, split: str, side: str, workers: int, quiet: bool) -> list[str]:
    from crossview.pairs.pictures import Unreadable, refuse
    from crossview.pairs.repeats import pixel_digests

    paths = getattr(table, side)
    digests: list[str] = []
    broken: list[Unreadable] = []
    title = f"{split}, {side}"
    with console.progress(title, len(paths), unit="pictures", quiet=quiet) as bar:
        for some in pixel_digests(side, paths, workers):
            broken += [one for one in some if isinstance(one, Unreadable)]
            digests += [one for one in some if isinstance(one, str)]
            bar.advance(len(some))
    refuse(broken, len(paths))
    return digests


def _summary(split: str, table: PairTable, found: Repeats) -> str:
    lines = [
        f"split {split}: {len(table):,} rows, {len(found.kept):,} without repeats "
        f"({len(table) - len(found.kept):,} dropped)"
    ]
    for side, groups in (("ground", found.ground), ("aerial", found.aerial)):
        copies = sum(len(group) - 1 for group in groups)
        lines.append(f"  {copies:,} {side} pictures repeat an earlier one")
        ids = table.ground_ids() if side == "ground" else table.aerial_ids()
        lines += [f"    {' = '.join(ids[i] for i in group)}" for group in groups[:5]]
        lines += [f"    ... and {len(groups) - 5} more groups"] if len(groups) > 5 else []
    return "\n".join(lines)
