"""What ``crossview data cache`` does and prints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from crossview.cli import console
from crossview.errors import CannotWrite, InvalidValue, UnknownName

if TYPE_CHECKING:
    from crossview.pairs.cache import Filled
    from crossview.pairs.reading import Files


@dataclass(frozen=True, kw_only=True)
class CacheRequest:
    """What to keep, and where."""

    data: str
    method: str
    settings: tuple[str, ...]
    splits: tuple[str, ...]  # none: all
    decoding: str
    out: Path
    workers: int
    skip_unreadable: bool


def fill(request: CacheRequest, *, dry_run: bool, quiet: bool) -> int:
    """Say the size, then write what is missing; returns how many pictures could not be read."""
    from crossview.pairs.pictures import refuse

    splits = list(_files(request))
    _say_size(request, [files for _, files in splits], dry_run)
    if dry_run:
        return 0
    lost, total = [], 0
    for split, files in splits:
        filled = _fill(request, split, files, quiet)
        lost += list(filled.unreadable)
        total += filled.total
    if not request.skip_unreadable:
        refuse(lost, total)
    for one in lost:
        console.note(f"{one.path}: {one.reason}", quiet=quiet)
    console.result(str(request.out))
    return len(lost)


def _files(request: CacheRequest) -> Iterator[tuple[str, Files]]:
    from crossview import wiring
    from crossview.cli.settings import settings
    from crossview.pairs.reading import Decoding, Files

    modes = get_args(Decoding)
    if request.decoding not in modes:
        raise InvalidValue(f"--decoding is {request.decoding!r}; allowed: {', '.join(modes)}.")
    page = wiring.method_page(request.method).load()
    views = page.views(wiring.make_config(page, settings(request.settings)))
    tables = wiring.open_data(request.data, check_files=not request.skip_unreadable).tables
    for split in request.splits or tuple(tables):
        if split not in tables:
            raise UnknownName("split", split, tables)
        yield split, Files(tables[split], views, request.decoding)  # type: ignore[arg-type]


def _fill(request: CacheRequest, split: str, files: Files, quiet: bool) -> Filled:
    from crossview.pairs.cache import fill_cache

    with console.progress(split, unit="pictures", quiet=quiet) as bar:
        for filled in fill_cache(request.out, files, request.workers):
            bar.to(filled.done, filled.total)
    return filled


def _say_size(request: CacheRequest, all_files: list[Files], dry_run: bool) -> None:
    from crossview.pairs.cache import packs_in
    from crossview.pairs.sizes import cache_room

    rooms = [cache_room(files) for files in all_files]
    needed = sum(room.bytes for room in rooms)
    held = sum(path.stat().st_size for path in packs_in(request.out))
    where = next(p for p in (request.out, *request.out.absolute().parents) if p.exists())
    free = shutil.disk_usage(where).free
    about = "" if all(room.exact for room in rooms) else "about "
    there = f", {console.size_text(held)} of packs are there" if held else ""
    room, left = about + console.size_text(needed), console.size_text(free)
    console.result(f"{request.out}: {room} for all pictures{there}; {left} are free.")
    if needed - held > free and not dry_run:
        raise CannotWrite(
            f"The cache needs {room}, and {where} has {left} left.\n"
            "Choose another --out, fewer splits, or a method with smaller pictures."
        )
