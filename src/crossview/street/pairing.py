"""Pairs of street photos and the imagery above them: windows, splits, a list, a sheet, a report.

A folder holds the pairs of one request. ``request.json`` says of which, ``inspected.jsonl`` keeps
what was seen of each photo and ``windows`` what was cut, so that a command that was killed goes on.
``pairs.csv`` comes late and ``report.json``, which vouches for everything, last.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossview._version import __version__
from crossview.arrays import U8
from crossview.errors import BadData, BadImage, EmptyRegion, InvalidValue, TooCoarse, require
from crossview.files import (
    append_lines,
    atomic_write,
    list_files,
    make_folder,
    printable,
    read_lines,
    sweep,
    wait_for_disk,
)
from crossview.geo.points import measure_distance_m, number_square
from crossview.imagery.sources import Imagery
from crossview.imagery.windows import PlacedWindow, Window, cut_placed, place_windows
from crossview.locks import lock
from crossview.pairs.checks import digest_picture, find_repeats
from crossview.pairs.loading import run_in_order
from crossview.pairs.table import KINDS
from crossview.schema import check, read_object
from crossview.street.street_photos import (
    ALIKE_BITS,
    ALIKE_M,
    OWN_SERVICE,
    DroppedPhoto,
    PhotoRule,
    SelectionOptions,
    StreetPhoto,
    find_series,
    judge_light,
    measure_level,
    select_photos,
    split_by_area,
)
from crossview.views.lens import Kind
from crossview.worlds.land_cover import COARSEST_M
from crossview.worlds.town import CELL_M
from crossview.worlds.town_pairs import COLUMNS, CROP_PX, PAIRS_NAME, save_picture
from crossview.worlds.write import write_pair_sheet

REQUEST_NAME, REPORT_NAME, TEXT_NAME = "request.json", "report.json", "report.md"
INSPECTED_NAME, WINDOWS_NAME = "inspected.jsonl", "windows"
SHEET_NAME, FACTS_NAME, ATTRIBUTION_NAME = "sheet.png", "pairs.json", "ATTRIBUTION.md"
FORMAT = 1
SHOWN_PAIRS = 24  # on the sheet
NEAR_MISS_M = 25.0  # a window whose middle is as near to another photo is neither right nor wrong
_CHUNK = 8  # photos that a process looks at, at a time
_HASH_PX = (8, 9)  # rows and columns of the picture that a hash compares
_LISTED = 20  # photos that the text names for each rule

PairingProgress = Callable[[str, int, int], None]  # what is done, how many, of how many


@dataclass(frozen=True, kw_only=True)
class PairingOptions:
    """Which photos, how large windows, and how much of the area is kept apart."""

    selection: SelectionOptions = field(default_factory=SelectionOptions)
    footprint_m: float = CROP_PX * CELL_M
    val_share: float = 0.15
    test_share: float = 0.15
    coarsest_m: float = COARSEST_M
    workers: int = 0  # processes that look at photos; 0: this one
    overwrite: bool = False

    def __post_init__(self) -> None:
        require(
            10.0 <= self.footprint_m <= 1000.0,
            f"the side of a window must be 10 to 1000 m, got {self.footprint_m:g}.",
        )


@dataclass(frozen=True, kw_only=True)
class PairFacts:
    """A pair that was made, for the report; file names are as in the list."""

    photo: str
    split: str
    kind: Kind
    heading_deg: float | None
    fov_deg: float
    position_sigma_m: float | None
    series: str | None
    licence: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PairingReport:
    """What was made, and what was left out and why."""

    request: str
    pairs: tuple[PairFacts, ...]
    left_out: tuple[DroppedPhoto, ...]
    footprint_m: float
    metres_per_px: tuple[float, float]  # of the windows, finest and coarsest
    lines_lat: tuple[float, ...]
    imagery: str  # whose it is
    imagery_date: str
    notes: tuple[str, ...] = ()
    version: str = __version__
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def count_splits(self) -> dict[str, int]:
        """Pairs by split."""
        return dict(Counter(pair.split for pair in self.pairs))

    def count_rules(self) -> dict[str, int]:
        """Photos left out, by rule."""
        return dict(Counter(one.rule for one in self.left_out).most_common())


@dataclass(frozen=True, kw_only=True)
class _Inspection:
    """What was seen of a photo's file."""

    kind: Kind
    fov_deg: float | None
    by_shape: bool
    turn_deg: float  # of the middle, by turning the picture upright
    level: float
    exposure_ev: float | None
    digest: str
    hash: str  # 64 bits, in hexadecimal digits
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    photo: StreetPhoto
    windows: tuple[PlacedWindow, ...]
    seen: _Inspection | None = None
    kind: Kind = "perspective"
    fov_deg: float = math.nan
    window: Window | None = None
    aerial: str = ""


def make_pairs(  # noqa: PLR0913 - what was known before comes along
    photos: Sequence[StreetPhoto],
    imagery: Imagery,
    out: Path,
    options: PairingOptions | None = None,
    *,
    left_out: Sequence[DroppedPhoto] = (),
    notes: Sequence[str] = (),
    progress: PairingProgress = lambda what, done, total: None,
) -> PairingReport:
    """Pair photos with the imagery above them, in the folder ``out``; the report, also if finished.

    ``left_out`` and ``notes`` of earlier steps are reported with the rest. Raises
    :class:`TooCoarse` for imagery, :class:`EmptyRegion` where no pair can be made, and
    :class:`InvalidValue` where ``out`` holds other pairs.
    """
    options = options or PairingOptions()
    if not photos:
        raise BadData("No photo with a known place is left to pair." + _list_rules(left_out))
    if imagery.info.metres_per_px > options.coarsest_m:
        raise TooCoarse(
            f"The imagery has {imagery.info.metres_per_px:.2f} m per pixel, and at most "
            f"{options.coarsest_m:g} m are useful beside street photos.\n"
            "Take finer imagery: most countries' orthophotos have 0.1 to 0.6 m."
        )
    require_local(photos)
    request = _sign_request(photos, imagery, options)
    with lock(out, "crossview pairs", make_parents=True):
        sweep(make_folder(out))
        finished = _open_finished(out, request, options.overwrite)
        if finished is not None:
            return finished
        facts = {"request": request, "made by": f"crossview {__version__}"}
        atomic_write(out / REQUEST_NAME, json.dumps(facts, indent=1) + "\n")
        return _make_missing(photos, imagery, out, options, request, left_out, notes, progress)


def require_local(photos: Sequence[StreetPhoto]) -> None:
    """Refuse photos that are not on this disk, and keys that two photos share."""
    away = next((photo for photo in photos if photo.file is None), None)
    if away is not None:
        raise BadData(f"The photo {away.key} is not here: fetch {away.url} first.")
    twice = [key for key, count in Counter(photo.key for photo in photos).items() if count > 1]
    if twice:
        raise BadData(f"Two photos are called {twice[0]}; ids must be unique in their service.")


def _sign_request(photos: Sequence[StreetPhoto], imagery: Imagery, options: PairingOptions) -> str:
    """What decides whether a finished folder holds these pairs."""
    digest = hashlib.sha256(f"{FORMAT} {imagery.info.signature}".encode())
    wanted = replace(options, workers=0, overwrite=False)
    digest.update(repr(wanted).encode())
    for photo in photos:
        digest.update(f"{photo!r} {_stamp(photo)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _stamp(photo: StreetPhoto) -> str:
    """Size and time of change of a photo's file; empty if it cannot be looked at."""
    try:
        facts = (photo.file or Path()).stat()
    except OSError:
        return ""
    return f"{facts.st_size} {facts.st_mtime_ns}"


def _open_finished(out: Path, request: str, overwrite: bool) -> PairingReport | None:
    """The report of a finished folder; None if there is something to do."""
    mine = (out / REQUEST_NAME).exists()
    finished = (out / REPORT_NAME).exists()
    if finished and mine:
        report = read_report(out / REPORT_NAME)
        if report.request == request:
            (out / INSPECTED_NAME).unlink(missing_ok=True)  # of a process that was killed last
            return report
        if not overwrite:
            raise InvalidValue(
                f"{out} already holds pairs of other photos, imagery or options.\n"
                "Choose another --out, or replace them with --overwrite."
            )
    elif finished or (not mine and (out / PAIRS_NAME).exists()):
        name = REPORT_NAME if finished else PAIRS_NAME
        raise InvalidValue(
            f"{out} holds a {name} that is not of these pairs. Choose another --out."
        )
    for name in (REPORT_NAME, PAIRS_NAME):  # what vouches goes first
        (out / name).unlink(missing_ok=True)
    return None


def read_report(path: Path) -> PairingReport:
    """The report that :func:`make_pairs` wrote; :class:`BadData` for any other file."""
    try:
        return check(PairingReport, read_object(path))
    except (OSError, ValueError) as problem:
        raise BadData(f"{path} is not a report of pairs: {problem}.") from problem


def _make_missing(  # noqa: PLR0913, PLR0917 - see make_pairs
    photos: Sequence[StreetPhoto],
    imagery: Imagery,
    out: Path,
    options: PairingOptions,
    request: str,
    left_out: Sequence[DroppedPhoto],
    notes: Sequence[str],
    progress: PairingProgress,
) -> PairingReport:
    rules = options.selection
    first = select_photos(photos, replace(rules, most=None))
    left = [*left_out, *first.left_out]
    candidates = list(_find_covered(first.kept, imagery, options.footprint_m, left))
    candidates = list(_inspect_all(candidates, out, options, left, progress))
    candidates = _drop_repeats(candidates, left)
    drawn = select_photos([one.photo for one in candidates], rules)
    left += drawn.left_out
    keys = {photo.key for photo in drawn.kept}
    candidates = [one for one in candidates if one.photo.key in keys]
    candidates = list(_cut_all(candidates, imagery, out, options, left, progress))
    if not candidates:
        raise EmptyRegion("No pair can be made of these photos." + _list_rules(left))
    lat = np.array([one.window.lat for one in candidates if one.window is not None])
    reach = np.array([one.windows[0].reach_m for one in candidates])
    parts = split_by_area(lat, reach, val_share=options.val_share, test_share=options.test_share)
    pairs: list[tuple[str, _Candidate]] = []
    for one, split in zip(candidates, parts.splits, strict=True):
        if split is None:
            why = "its window lies on the line between two splits, which share no ground"
            left.append(_drop(one, "line", why))
        else:
            pairs.append((split, one))
    order = ("train", "val", "test")
    pairs.sort(key=lambda pair: (order.index(pair[0]), pair[1].photo.key))
    report = _describe(pairs, left, imagery, options, request, (*notes, *parts.notes))
    report = replace(report, lines_lat=parts.lines_lat)
    _write_all(out, pairs, report, imagery)
    return report


def _drop(one: _Candidate, rule: PhotoRule, why: str) -> DroppedPhoto:
    return DroppedPhoto(photo=one.photo.key, rule=rule, why=why)


def _list_rules(left: Sequence[DroppedPhoto]) -> str:
    counts = Counter(one.rule for one in left).most_common()
    if not counts:
        return ""
    first = next(one for one in left if one.rule == counts[0][0])
    said = ", ".join(f"{count} by {rule}" for rule, count in counts)
    return f"\nLeft out: {said}. For example {first.photo}: {first.why}."


def _find_covered(
    photos: Sequence[StreetPhoto], imagery: Imagery, footprint_m: float, left: list[DroppedPhoto]
) -> Iterator[_Candidate]:
    """Photos that the imagery covers, with the windows that could be cut."""
    lat = np.array([photo.place.lat for photo in photos])
    lon = np.array([photo.place.lon for photo in photos])
    for photo, windows in zip(photos, place_windows(imagery, lat, lon, footprint_m), strict=True):
        one = _Candidate(photo=photo, windows=tuple(windows))
        if windows:
            yield one
        else:
            why = f"the imagery does not cover the {footprint_m:.0f} m around {photo.place}"
            left.append(_drop(one, "outside", why))


# What is seen of photos.


def _inspect_all(
    candidates: Sequence[_Candidate],
    out: Path,
    options: PairingOptions,
    left: list[DroppedPhoto],
    progress: PairingProgress,
) -> Iterator[_Candidate]:
    """Those that can be used by what their pictures show; each file is decoded once."""
    for one, seen in zip(
        candidates, _inspect_files(candidates, out, options.workers, progress), strict=True
    ):
        if isinstance(seen, str):
            left.append(_drop(one, "unreadable", seen))
            continue
        dark = judge_light(one.photo, seen.level, seen.exposure_ev, options.selection)
        if dark is not None:
            left.append(dark)
            continue
        kind, fov_deg = choose_view(one.photo, seen.kind, seen.fov_deg)
        if fov_deg is None:
            why = "neither a list nor its file tells its field of view (--fov states one)"
            left.append(_drop(one, "field of view", why))
            continue
        yield replace(one, seen=seen, kind=kind, fov_deg=fov_deg)


def choose_view(
    photo: StreetPhoto, file_kind: Kind, file_fov_deg: float | None
) -> tuple[Kind, float | None]:
    """Kind and horizontal field of view of a photo: as its record says, else as its file does."""
    fov_deg = photo.fov_deg if photo.fov_deg is not None else file_fov_deg
    if fov_deg is None or fov_deg >= 360.0:
        return ("panorama" if fov_deg is not None else file_kind), fov_deg
    part = file_kind == "panorama" and file_fov_deg is not None
    same = part and abs((file_fov_deg or 0.0) - fov_deg) <= 1.0
    return (KINDS[0] if same else KINDS[1]), fov_deg  # type: ignore[return-value]


def _inspect_files(
    candidates: Sequence[_Candidate], out: Path, workers: int, progress: PairingProgress
) -> Iterator[_Inspection | str]:
    """What was seen of each file, or why it cannot be read; noted, so that it is done once."""
    journal = out / INSPECTED_NAME
    known: dict[str, Any] = {}
    if journal.exists():
        known = {str(entry.get("file")): entry.get("seen") for entry in read_lines(journal)[0]}
    names = [f"{one.photo.file} {_stamp(one.photo)}" for one in candidates]
    new = [n for n, name in enumerate(names) if not isinstance(known.get(name), dict | str)]
    chunks = [new[start : start + _CHUNK] for start in range(0, len(new), _CHUNK)]
    jobs = [([candidates[n].photo.file for n in chunk],) for chunk in chunks]
    done = len(names) - len(new)
    progress("photos looked at", done, len(names))
    for chunk, found in zip(chunks, run_in_order(_inspect_chunk, None, jobs, workers), strict=True):
        entries = [
            {"file": printable(names[n]), "seen": seen}
            for n, seen in zip(chunk, found, strict=True)
        ]
        append_lines(journal, entries)
        known.update({names[n]: seen for n, seen in zip(chunk, found, strict=True)})
        done += len(chunk)
        progress("photos looked at", done, len(names))
    for name in names:
        seen = known[name]
        try:
            yield seen if isinstance(seen, str) else check(_Inspection, seen)
        except ValueError as problem:
            raise BadData(
                f"{journal} is damaged: {problem}.\nRemove it; photos are looked at anew."
            ) from problem


def _inspect_chunk(_: None, files: list[Path]) -> list[dict[str, Any] | str]:
    return [inspect_photo(file) for file in files]


def inspect_photo(file: Path) -> dict[str, Any] | str:
    """The JSON of what a photo's file and pixels say; a sentence if it cannot be read."""
    from crossview.views.decode import load_photo, read_photo_header

    try:
        facts, capture = read_photo_header(file)
        photo = load_photo(file)
    except BadImage as problem:
        return printable(str(problem).removeprefix(f"{file}: ").partition("\n")[0])
    turn = 0.0
    if photo.heading is not None and facts.heading is not None:
        turn = photo.heading.degrees - facts.heading.degrees
    seen = _Inspection(
        kind=photo.kind,
        fov_deg=facts.fov_deg if photo.fov_deg is not None else None,
        by_shape=facts.by_shape,
        turn_deg=turn,
        level=measure_level(photo.pixels),
        exposure_ev=capture.exposure_ev,
        digest=digest_picture(photo.pixels),
        hash=hash_picture(photo.pixels),
        notes=tuple(printable(note) for note in photo.view_assumptions),
    )
    return asdict(seen)


def hash_picture(pixels: U8) -> str:
    """64 bits (16 hexadecimal digits) that copies of a picture [h, w, 3] nearly share.

    Whether each of 8 x 8 fields is darker than its right neighbour (a difference hash).
    """
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, _HASH_PX[::-1], interpolation=cv2.INTER_AREA).astype(np.int64)
    bits = (small[:, :-1] < small[:, 1:]).reshape(-1)
    return np.packbits(bits).tobytes().hex()


def _drop_repeats(candidates: Sequence[_Candidate], left: list[DroppedPhoto]) -> list[_Candidate]:
    """Without pictures whose pixels equal earlier ones, and near-duplicates of one place."""
    rows = np.stack([np.arange(len(candidates))] * 2, axis=1).astype(np.int64)
    digests = [one.seen.digest for one in candidates if one.seen is not None]
    repeats = find_repeats(digests, [str(n) for n in range(len(candidates))], rows)
    first = {n: group[0] for group in repeats.ground for n in group[1:]}
    near: dict[tuple[int, int], list[_Candidate]] = defaultdict(list)
    kept: list[_Candidate] = []
    for n, one in enumerate(candidates):
        if n in first:
            why = f"its pixels equal those of {candidates[first[n]].photo.key}"
            left.append(_drop(one, "repeat", why))
            continue
        row, column = number_square(one.photo.place, ALIKE_M)
        around = [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        same = next((o for a in around for o in near.get(a, ()) if _is_alike(o, one)), None)
        if same is not None:
            why = f"it is nearly the same picture as {same.photo.key}"
            left.append(_drop(one, "near-duplicate", why))
            continue
        near[row, column].append(one)
        kept.append(one)
    return kept


def _is_alike(one: _Candidate, other: _Candidate) -> bool:
    if one.seen is None or other.seen is None:
        return False
    differing = (int(one.seen.hash, 16) ^ int(other.seen.hash, 16)).bit_count()
    near = measure_distance_m(one.photo.place, other.photo.place) <= ALIKE_M
    return near and differing <= ALIKE_BITS


# Windows.


def _cut_all(
    candidates: Sequence[_Candidate],
    imagery: Imagery,
    out: Path,
    options: PairingOptions,
    left: list[DroppedPhoto],
    progress: PairingProgress,
) -> Iterator[_Candidate]:
    """The candidates with their windows, written; cut in the order in which imagery is stored."""
    folder = make_folder(out / WINDOWS_NAME)
    sweep(folder)
    number = {id(sheet): n for n, sheet in enumerate(imagery.sheets)}

    def where(one: _Candidate) -> tuple[int, int, str]:
        placed = one.windows[0]
        return number[id(placed.sheet)], placed.row.top_px, one.photo.key

    ordered = sorted(candidates, key=where)
    for done, one in enumerate(ordered, 1):
        progress("windows cut", done, len(ordered))
        found = next(
            (
                (placed, window)
                for placed in one.windows
                if (window := cut_placed(placed)) is not None
            ),
            None,
        )
        if found is None:
            left.append(_drop(one, "no data", "the imagery has a hole there, or one colour only"))
            continue
        placed, window = found
        said = f"{imagery.info.signature} {placed.row} {options.footprint_m}"
        version = hashlib.sha256(said.encode()).hexdigest()[:8]
        name = f"{one.photo.key}-{version}.jpg"
        if not (folder / name).exists():
            save_picture(folder / name, window.pixels, synthetic=False)
        yield replace(
            one,
            windows=(placed,),
            window=window._replace(pixels=window.pixels[:0]),
            aerial=f"{WINDOWS_NAME}/{name}",
        )
    wait_for_disk()


# What is written.


def _describe(
    pairs: Sequence[tuple[str, _Candidate]],
    left: Sequence[DroppedPhoto],
    imagery: Imagery,
    options: PairingOptions,
    request: str,
    notes: Sequence[str],
) -> PairingReport:
    series = find_series([one.photo for _, one in pairs])
    scales = [one.window.metres_per_px for _, one in pairs if one.window is not None]
    facts = tuple(
        PairFacts(
            photo=one.photo.key,
            split=split,
            kind=one.kind,
            heading_deg=_find_heading_deg(one),
            fov_deg=one.fov_deg,
            position_sigma_m=one.photo.position_sigma_m,
            series=name,
            licence=printable(one.photo.licence),
            notes=(*one.photo.notes, *(one.seen.notes if one.seen is not None else ())),
        )
        for (split, one), name in zip(pairs, series, strict=True)
    )
    return PairingReport(
        request=request,
        pairs=facts,
        left_out=tuple(sorted(left, key=lambda one: (one.rule, one.photo))),
        footprint_m=options.footprint_m,
        metres_per_px=(min(scales), max(scales)) if scales else (0.0, 0.0),
        lines_lat=(),
        imagery=printable(imagery.info.attribution),
        imagery_date=printable(options.selection.imagery_date or imagery.info.date),
        notes=tuple(printable(note) for note in (*notes, *imagery.info.warnings)),
    )


def _find_heading_deg(one: _Candidate) -> float | None:
    """Of the middle of the picture as it is read, which is turned upright."""
    if one.photo.heading_deg is None:
        return None
    turn = 0.0 if one.seen is None else one.seen.turn_deg
    return round((one.photo.heading_deg + turn) % 360.0, 4) % 360.0


def _write_all(
    out: Path, pairs: Sequence[tuple[str, _Candidate]], report: PairingReport, imagery: Imagery
) -> None:
    table = _format_table(out, pairs)
    photos = [one.photo for _, one in pairs]
    licences = sorted({photo.licence or "as their owner says" for photo in photos})
    facts = {
        "training_data": f"{len(pairs)} street photos of "
        f"{', '.join(sorted({photo.service for photo in photos}))}, and imagery: "
        f"{report.imagery or 'of an owner who is not named'}"[:900],
        "licence": f"photos: {', '.join(licences)}; pictures from above: "
        f"{report.imagery or 'as their owner says'}"[:900],
    }
    atomic_write(out / ATTRIBUTION_NAME, format_attribution(photos, report, imagery))
    atomic_write(out / FACTS_NAME, json.dumps(facts, indent=1) + "\n")
    atomic_write(out / TEXT_NAME, format_report(report))
    atomic_write(out / PAIRS_NAME, table)
    write_pair_sheet(out / SHEET_NAME, out / PAIRS_NAME, SHOWN_PAIRS)
    used = {Path(one.aerial).name for _, one in pairs}
    for path in list_files(out / WINDOWS_NAME):
        if path.name not in used and path.suffix == ".jpg":
            path.unlink()
    atomic_write(out / REPORT_NAME, json.dumps(report.to_json(), indent=1) + "\n")
    (out / INSPECTED_NAME).unlink(missing_ok=True)


def _format_table(out: Path, pairs: Sequence[tuple[str, _Candidate]]) -> str:
    """``pairs.csv``: the matches, and the near misses as rows to ignore."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for split, one in pairs:
        writer.writerow(_make_row(out, split, "match", one, one))
    for split, one, other in _find_near_misses(pairs):
        writer.writerow(_make_row(out, split, "ignore", one, other))
    return text.getvalue()


def _find_near_misses(
    pairs: Sequence[tuple[str, _Candidate]],
) -> Iterator[tuple[str, _Candidate, _Candidate]]:
    """Photos and windows of other photos of the split that show nearly the same ground."""
    squares: dict[tuple[str, int, int], list[_Candidate]] = defaultdict(list)
    for split, one in pairs:
        squares[split, *number_square(one.photo.place, NEAR_MISS_M)].append(one)
    for split, one in pairs:
        row, column = number_square(one.photo.place, NEAR_MISS_M)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                for other in squares.get((split, row + down, column + right), ()):
                    away_m = measure_distance_m(one.photo.place, other.photo.place)
                    if other is not one and away_m <= NEAR_MISS_M:
                        yield split, one, other


def _make_row(
    out: Path, split: str, relation: str, one: _Candidate, above: _Candidate
) -> tuple[object, ...]:
    if above.window is None or one.photo.file is None:
        raise BadData(f"The photo {one.photo.key} has no window.")  # never: they were cut
    heading = _find_heading_deg(one)
    return (
        _name_photo(out, one.photo.file), above.aerial, split, relation,
        repr(one.photo.place.lat), repr(one.photo.place.lon),
        repr(above.window.lat), repr(above.window.lon),
        repr(above.window.metres_per_px), round(above.window.up_bearing_deg, 5),
        "" if heading is None else heading, round(one.fov_deg, 4), one.kind,
    )  # fmt: skip


def _name_photo(out: Path, file: Path) -> str:
    """Relative to the list where the photo lies in its folder, so that the folder can be moved."""
    whole, home = Path(os.path.abspath(file)), Path(os.path.abspath(out))
    return whole.relative_to(home).as_posix() if whole.is_relative_to(home) else whole.as_posix()


def format_report(report: PairingReport) -> str:
    """The report as text that people read (Markdown)."""
    splits = ", ".join(f"{count} {name}" for name, count in report.count_splits().items())
    known = sum(pair.heading_deg is not None for pair in report.pairs)
    kinds = Counter(pair.kind for pair in report.pairs)
    finest, coarsest = report.metres_per_px
    lines = [
        "# Pairs of street photos and imagery",
        "",
        f"* {len(report.pairs)} pairs: {splits}.",
        f"* {kinds['panorama']} panoramas, {kinds['perspective']} photos; the heading is known of "
        f"{known}.",
        f"* Windows of {report.footprint_m:.0f} m, {finest:.3g} to {coarsest:.3g} m per pixel on "
        "the ground.",
        f"* Imagery: {report.imagery or 'nobody is named'}; taken: "
        f"{report.imagery_date or 'not known'}.",
    ]
    if report.lines_lat:
        said = ", ".join(f"{lat:.6f}" for lat in report.lines_lat)
        lines.append(f"* Splits are divided at latitude {said}; no window lies on a line.")
    lines += [f"* {note}." for note in report.notes]
    lines += ["", f"## Left out: {len(report.left_out)}", ""]
    for rule, count in report.count_rules().items():
        lines.append(f"* **{rule}**: {count}")
        named = [one for one in report.left_out if one.rule == rule]
        lines += [f"    * `{printable(one.photo)}`: {one.why}" for one in named[:_LISTED]]
        if count > _LISTED:
            lines.append(f"    * ... and {count - _LISTED} more (report.json has all)")
    assumed = Counter(note for pair in report.pairs for note in pair.notes)
    if assumed:
        lines += ["", "## Assumed", ""]
        lines += [f"* {count} photos: {note}" for note, count in assumed.most_common(_LISTED)]
    return "\n".join(lines) + "\n"


def format_attribution(
    photos: Sequence[StreetPhoto], report: PairingReport, imagery: Imagery
) -> str:
    """Whose pictures these are, one by one where they are others' (Markdown)."""
    lines = ["# Attribution", "", f"Imagery: {report.imagery or 'nobody is named'}."]
    lines += [f"Read from: {', '.join(Path(p).name for p in imagery.info.sources)}.", ""]
    named = [p for p in photos if p.service != OWN_SERVICE or p.licence or p.attribution]
    if len(named) < len(photos):
        lines += [f"{len(photos) - len(named)} photos are of one's own.", ""]
    if named:
        lines += ["| photo | by | licence | page |", "|---|---|---|---|"]
    for photo in named:
        licence = photo.licence or "none stated"
        if photo.licence_url:
            licence = f"[{_escape(licence)}]({_escape(photo.licence_url)})"
        page = f"<{_escape(photo.page_url)}>" if photo.page_url else ""
        who = _escape(photo.attribution) or "nobody is named"
        lines.append(f"| {photo.key} | {who} | {licence} | {page} |")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """Text of others for a cell of a table."""
    return printable(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")
