"""Is a data set complete: its lists and folders, its numbers, and whether its pictures open.

Pictures that a list holds more than once are found by the md5 of their decoded pixels, as GeoDTR+
(Zhang et al., TPAMI 2024) cleans CVUSA: ground and aerial pictures apart, the first of each group
kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from crossview.arrays import I64, U8
from crossview.errors import BadImage
from crossview.files import is_system_file
from crossview.geo.points import measure_pair_distances_m
from crossview.pairs import loading
from crossview.pairs.official_lists import Part, list_data, list_names
from crossview.pairs.reading import read_kinds
from crossview.pairs.table import SIDES, PairTable

FAR_M = 10_000.0  # no aerial picture of a street shows as much
State = Literal["there", "missing", "differs", "skipped", "note"]
Digest = str | loading.Unreadable


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence about one part of a data set."""

    state: State
    text: str
    problem: bool  # something that has to be put right


def check_parts(root: Path, parts: Sequence[Part]) -> Iterator[Finding]:
    """A finding for each list and folder; what is missing comes with the place where it belongs."""
    for part in parts:
        places = [root / name for name in part.path.split(" or ")]
        place = next((place for place in places if place.exists()), None)
        if place is None:
            where = " or ".join(map(str, places))
            files = f", {part.files:,} of them" if part.files else ""
            need = "" if part.needed else " (not needed)"
            text = f"{part.path}: {part.holds}{files}; belongs at {where}{need}"
            yield Finding(state="missing", text=text, problem=part.needed)
        elif part.files and (count := len(list_data(place))) != part.files:
            text = f"{place}: {part.holds}, {count:,} of them; officially {part.files:,}"
            yield Finding(state="differs", text=text, problem=count < part.files)
        else:
            files = f", {part.files:,} of them" if part.files else ""
            yield Finding(state="there", text=f"{place}: {part.holds}{files}", problem=False)


def check_system_files(tables: Mapping[str, PairTable]) -> Iterator[Finding]:
    """Says how many files of the system lie among the pictures; they are not data."""
    folders = {path.parent for _, path in list_pictures(tables.values())}
    skipped = sorted(
        folder / name for folder in folders for name in list_names(folder) if is_system_file(name)
    )
    if skipped:
        text = f"{len(skipped):,} files of the system among the pictures, the first {skipped[0]}"
        yield Finding(state="skipped", text=text, problem=False)


def check_facts(tables: Mapping[str, PairTable]) -> Iterator[Finding]:
    """Says what tables do not know of their pictures, and which pictures several splits name."""
    for split, table in tables.items():
        for side in SIDES:
            places = getattr(table, f"{side}_latlon")
            if unknown := int(np.isnan(places).any(axis=1).sum()):
                text = (
                    f"split {split}: {unknown:,} of {len(places):,} {side} pictures have no place"
                )
                yield Finding(state="note", text=text, problem=False)
    for first, other in combinations(tables, 2):
        for side in SIDES:
            files = [set(getattr(tables[split], side)) for split in (first, other)]
            if both := files[0] & files[1]:
                text = f"{len(both):,} {side} pictures are in split {first} and in split {other}"
                yield Finding(state="note", text=f"{text}, the first {min(both)}", problem=False)


def check_kinds(tables: Mapping[str, PairTable]) -> Iterator[Finding]:
    """Panoramas and photos of one's own tables, and what does not fit the pictures' files.

    Problems: photos without a field of view, and what a table calls a panorama though its file
    says that it is of an ordinary lens.
    """
    for split, table in tables.items():
        photos = int(table.perspective.sum())
        text = f"split {split}: {len(table.ground) - photos:,} panoramas, {photos:,} photos"
        yield Finding(state="note", text=text, problem=False)
        silent = np.flatnonzero(np.isnan(table.fov_deg))
        kinds = read_kinds([table.ground[n] for n in silent])
        without = [
            table.ground[n]
            for n, kind in zip(silent, kinds, strict=True)
            if table.perspective[n] and kind.readable and kind.fov_deg is None
        ]
        lenses = [
            table.ground[n]
            for n, kind in zip(silent, kinds, strict=True)
            if not table.perspective[n] and kind.kind == "perspective" and kind.fov_deg is not None
        ]
        if without:
            text = "photos have no field of view; add the column fov_deg"
            yield _make_problem(split, without, text)
        if lenses:
            text = "pictures are panoramas by the table, photos of one lens by their files"
            yield _make_problem(split, lenses, text)


def check_places(tables: Mapping[str, PairTable]) -> Iterator[Finding]:
    """Matches of one's own tables whose two places cannot be in one aerial picture: problems.

    Latitude and longitude that are swapped on one side, say.
    """
    for split, table in tables.items():
        places = [
            getattr(table, f"{side}_latlon")[table.pairs[:, n]] for n, side in enumerate(SIDES)
        ]
        away_m = measure_pair_distances_m(*places)
        far = np.flatnonzero(away_m > FAR_M)
        if len(far):
            text = f"matches whose two places are more than {FAR_M / 1000:g} km apart"
            grounds = [table.ground[g] for g in table.pairs[far, 0]]
            finding = _make_problem(split, grounds, text)
            yield replace(finding, text=f"{finding.text} ({away_m[far[0]] / 1000:,.0f} km)")


def _make_problem(split: str, paths: Sequence[Path], text: str) -> Finding:
    first = f"the first {paths[0]}"
    text = f"split {split}: {len(paths):,} {text}: {first}"
    return Finding(state="differs", text=text, problem=True)


def list_pictures(tables: Iterable[PairTable]) -> list[tuple[str, Path]]:
    """(side, path) of every picture that the tables name, each once, in their order."""
    named = [(side, path) for table in tables for side in SIDES for path in getattr(table, side)]
    return list(dict.fromkeys(named))


def find_absent(pictures: Sequence[tuple[str, Path]]) -> list[Path]:
    """Those that are not there; folders are listed, so that 100,000 files cost a second."""
    held = {folder: list_names(folder) for folder in {path.parent for _, path in pictures}}
    return [path for _, path in pictures if path.name not in held[path.parent]]


def draw_pictures(
    pictures: Sequence[tuple[str, Path]], count: int, seed: int = 0
) -> list[tuple[str, Path]]:
    """``count`` of them drawn by ``seed``, in their order; all if there are no more."""
    if count >= len(pictures):
        return list(pictures)
    drawn = np.random.default_rng(seed).choice(len(pictures), count, replace=False)
    return [pictures[i] for i in sorted(drawn.tolist())]


def decode_all(
    pictures: Sequence[tuple[str, Path]], workers: int
) -> Iterator[tuple[int, list[loading.Unreadable]]]:
    """Decode every picture in full; yields how many are done, and which of the last ones broke.

    ``index`` of an :class:`Unreadable` is the position in ``pictures``.
    """
    numbered = [(n, side, path) for n, (side, path) in enumerate(pictures)]
    jobs = [(numbered[i : i + loading.CHUNK],) for i in range(0, len(numbered), loading.CHUNK)]
    done = 0
    for (chunk,), broken in zip(
        jobs, loading.run_in_order(_find_broken, None, jobs, workers), strict=True
    ):
        done += len(chunk)
        yield done, broken


def drop_unreadable(
    table: PairTable, workers: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[PairTable, list[loading.Unreadable]]:
    """The table without pictures that cannot be decoded, and those; all are opened.

    Raises BadData if no pair is left.
    """
    pictures = list_pictures([table])
    lost: list[loading.Unreadable] = []
    for done, broken in decode_all(pictures, workers):
        lost += broken
        progress(done, len(pictures))
    gone = {side: {picture.path for picture in lost if picture.side == side} for side in SIDES}
    kept = table.without(
        ground=[i for i, path in enumerate(table.ground) if path in gone["ground"]],
        aerial=[i for i, path in enumerate(table.aerial) if path in gone["aerial"]],
    )
    if not len(kept):
        loading.refuse_unreadable(lost, len(pictures))
    return kept, lost


def _find_broken(_: None, chunk: list[tuple[int, str, Path]]) -> list[loading.Unreadable]:
    from crossview.views.decode import read_rgb

    unreadable = []
    for index, side, path in chunk:
        try:
            read_rgb(path)
        except BadImage as problem:
            unreadable.append(loading.describe_unreadable(side, index, path, problem))
    return unreadable


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """What is there more than once among the rows of one list."""

    ground: tuple[tuple[int, ...], ...]  # groups of two or more ground pictures, equal pixels
    aerial: tuple[tuple[int, ...], ...]
    kept: tuple[int, ...]  # rows without a picture of an earlier kept row


def digest_pixels(side: str, paths: Sequence[Path], workers: int) -> Iterator[list[Digest]]:
    """The md5 of the RGB pixels of each picture, some at a time, in order."""
    numbered = list(enumerate(paths))
    jobs = [(side, numbered[i : i + loading.CHUNK]) for i in range(0, len(numbered), loading.CHUNK)]
    yield from loading.run_in_order(_digest_chunk, None, jobs, workers)


def find_repeats(ground: Sequence[str], aerial: Sequence[str], pairs: I64) -> Repeats:
    """From the digests of the pictures [G] and [A] and the rows [P, 2] of a table."""
    seen_ground: set[str] = set()
    seen_aerial: set[str] = set()
    kept = []
    for row, (g, a) in enumerate(pairs.tolist()):
        if ground[g] not in seen_ground and aerial[a] not in seen_aerial:
            kept.append(row)
            seen_ground.add(ground[g])
            seen_aerial.add(aerial[a])
    return Repeats(ground=_group_equal(ground), aerial=_group_equal(aerial), kept=tuple(kept))


def _group_equal(digests: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    members: dict[str, list[int]] = {}
    for index, digest in enumerate(digests):
        members.setdefault(digest, []).append(index)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)


def _digest_chunk(_: None, side: str, chunk: list[tuple[int, Path]]) -> list[Digest]:
    from crossview.views.decode import read_rgb

    digests: list[Digest] = []
    for index, path in chunk:
        try:
            pixels = read_rgb(path)
        except BadImage as problem:
            digests.append(loading.describe_unreadable(side, index, path, problem))
            continue
        digests.append(digest_picture(pixels))
    return digests


def digest_picture(pixels: U8) -> str:
    """The md5 of RGB pixels [h, w, 3], by which repeats are found."""
    return hashlib.md5(pixels.tobytes(), usedforsecurity=False).hexdigest()
