"""Answers as text: a table for the terminal, CSV (a row per place), JSON lines (one per photo)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossview.files import printable
from crossview.localization.answer import Answer
from crossview.outputs import records
from crossview.texts import phrase

if TYPE_CHECKING:
    from crossview.localization.track import Track

_OPTIONAL_COLUMNS = {
    "\u00b1 m": "position_sigma_m", "heading": "heading_deg", "\u00b1 deg": "heading_sigma_deg",
    "probability": "probability", "error": "error_m",
}  # fmt: skip
_WIDTH = 100_000  # characters: no line is folded
_MANY = 12  # for more photos than this, remarks are counted instead of listed
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def to_table(answers: Sequence[Answer], *, top: int = 5) -> str:
    """The best ``top`` places of each picture as text.

    Columns that are empty for all places (heading, error, probability) are left out. Remarks (what
    was assumed, how far to trust the first place, where it is on openstreetmap.org) and warnings
    stand below. Names and addresses are not broken over lines, so that they can be copied whole.
    """
    lines = _print_table(_build_table(answers, top))
    return "\n".join([*lines, *_write_remarks(answers)]) + "\n"


def _print_table(table: Table) -> list[str]:
    stream = io.StringIO()
    page = Console(file=stream, width=_WIDTH, color_system=None, highlight=False, emoji=False)
    page.print(table)
    return [line.rstrip() for line in stream.getvalue().split("\n")[:-1]]


def _build_table(answers: Sequence[Answer], top: int) -> Table:
    rows = [
        [records.describe_place(place, answer.truth) for place in answer.places[:top]]
        for answer in answers
    ]
    shown = choose_columns(rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("photo", no_wrap=True, overflow="ignore")
    for name in ("place", "latitude", "longitude", "score", *shown):
        table.add_column(name, justify="right", no_wrap=True)
    names = records.shorten_names([answer.photo for answer in answers])
    for name, place_records in zip(names, rows, strict=True):
        for row, record in enumerate(place_records or [{}]):
            table.add_row(Text("" if row else name), *format_cells(record, shown))
    return table


def choose_columns(rows: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """The optional columns that some place of some photo fills."""
    keys = {key for place_records in rows for record in place_records for key in record}
    return [name for name, key in _OPTIONAL_COLUMNS.items() if key in keys]


def format_cells(record: dict[str, Any], shown: Sequence[str]) -> list[str]:
    """The cells of one place; dashes for a photo without places."""
    if not record:
        return ["-"] * (4 + len(shown))
    fixed = [str(record["rank"]), f"{record['lat']:.6f}", f"{record['lon']:.6f}"]
    optional = [_format_optional(_OPTIONAL_COLUMNS[name], record) for name in shown]
    return [*fixed, f"{record['score']:.3f}", *optional]


def _format_optional(key: str, record: dict[str, Any]) -> str:
    """A value that some rows have and others lack."""
    formats: dict[str, Callable[[Any], str]] = {
        "heading_deg": _format_bearing, "probability": "{:.0%}".format, "error_m": _format_metres,
        "time": str,
    }  # fmt: skip
    return formats.get(key, "{:.1f}".format)(record[key]) if key in record else "-"


def _format_bearing(bearing: float) -> str:
    return f"{round(bearing) % 360}°"


def _format_metres(distance_m: float) -> str:
    return f"{distance_m:.1f} m" if distance_m < 10_000 else f"{distance_m / 1000:.0f} km"


def _write_remarks(answers: Sequence[Answer]) -> list[str]:
    lines = []
    names = records.shorten_names([answer.photo for answer in answers])
    if len(answers) > _MANY:
        lines += _summarize_remarks(answers)
    else:
        for name, answer in zip(names, answers, strict=True):
            remarks = [
                *records.drop_repeats(answer.assumptions),
                records.explain_confidence(answer),
            ]
            lines.append(f"{name}: {'; '.join(remarks)}")
            if answer.places:
                lines.append(
                    phrase("table.first_place", link=records.make_map_link(answer.places[0].latlon))
                )
    for answer in answers:
        photos = records.shorten_names([each.photo for each in answer.together])
        lines += [
            f"  {photo}: {records.explain_contribution(each)}"
            for photo, each in zip(photos, answer.together, strict=True)
        ]
    for name, answer in zip(names, answers, strict=True):
        if answer.claim is not None:
            lines.append(f"{name}: {records.explain_claim(answer.claim)}")
    if advice := advise_headings(answers):
        lines.append(advice)
    warnings = records.drop_repeats(text for answer in answers for text in answer.warnings)
    return lines + [phrase("table.warning", warning=text) for text in warnings]


def advise_headings(answers: Sequence[Answer]) -> str:
    """One line, however many answers there are: give the heading where it is not known; or ""."""
    wanted = sum(answer.heading_wanted for answer in answers)
    if not wanted:
        return ""
    if len(answers) == 1:
        return phrase("table.heading")
    return phrase("table.heading_of_some", count=wanted, total=len(answers))


def _summarize_remarks(answers: Sequence[Answer]) -> list[str]:
    """For how many photos a place stands out, and how many rest on which assumption."""
    counts = Counter(
        assumption
        for answer in answers
        for assumption in {_shorten_assumption(text) for text in answer.assumptions}
    )
    clear = sum(records.stands_out(answer) for answer in answers)
    return [
        phrase("table.photos_that_stand_out", clear=clear, total=len(answers)),
        *(
            phrase("table.photos_of_an_assumption", count=count, assumption=assumption)
            for assumption, count in counts.most_common()
        ),
        *([phrase("table.more_on_assumptions")] if counts else []),
    ]


def _shorten_assumption(assumption: str) -> str:
    """Drop what belongs to one photo: it stands in brackets or after a colon."""
    return printable(re.sub(r" ?\([^)]*\)", "", assumption).split(":")[0])


def to_csv(answers: Iterable[Answer]) -> str:
    """One row per place, best first; unknown values are empty. Columns of claims: if there are any.

    A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    stream = io.StringIO()
    answers = list(answers)
    claimed = records.CLAIM_COLUMNS if any(a.claim is not None for a in answers) else ()
    table = csv.DictWriter(stream, (*records.COLUMNS, *claimed), lineterminator="\n")
    table.writeheader()
    for answer in answers:
        for place in records.build_rows(answer):
            row = place | records.build_claim_row(answer)
            table.writerow({name: escape_formula(value) for name, value in row.items()})
    return stream.getvalue()


def to_table_track(track: Track) -> str:
    """The points of a track as text, and what there is to say of all of them."""
    rows = [records.describe_track_point(point) for point in track.points]
    names = records.shorten_names([point.photo for point in track.points])
    optional = {"time": "time", "heading": "heading_deg", "\u00b1 deg": "heading_sigma_deg",
                "error": "error_m"}  # fmt: skip
    shown = {name: key for name, key in optional.items() if any(key in row for row in rows)}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("photo", no_wrap=True, overflow="ignore")
    for title in ("latitude", "longitude", "\u00b1 m", *shown, ""):
        table.add_column(title, justify="right", no_wrap=True)
    for name, row in zip(names, rows, strict=True):
        cells = [_format_optional(key, row) for key in shown.values()]
        fixed = [f"{row['lat']:.6f}", f"{row['lon']:.6f}", f"{row['position_sigma_m']:.1f}"]
        table.add_row(Text(name), *fixed, *cells, phrase("track.lost") if row["lost"] else "")
    facts = records.describe_track(track)
    lines = [records.explain_track(track), *facts["assumptions"]]
    warnings = [phrase("table.warning", warning=text) for text in facts["warnings"]]
    return "\n".join([*_print_table(table), *lines, *warnings]) + "\n"


def to_csv_track(track: Track) -> str:
    """One row per point in the order of time; unknown values are empty."""
    stream = io.StringIO()
    table = csv.DictWriter(stream, records.TRACK_COLUMNS, lineterminator="\n")
    table.writeheader()
    for point in track.points:
        row = records.describe_track_point(point)
        table.writerow({name: escape_formula(value) for name, value in row.items()})
    return stream.getvalue()


def escape_formula(value: Any) -> Any:
    """A cell of a spreadsheet: numbers unchanged, texts that look like a formula escaped.

    File names and labels may come from strangers, and a spreadsheet runs ``=cmd`` on opening.
    """
    if value is None or isinstance(value, int | float):
        return value
    text = records.format_cell(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def to_jsonl(answers: Iterable[Answer]) -> str:
    """One line of strict JSON (ASCII, no NaN) per answer, in the order given."""
    return "".join(_write_line(answer) for answer in answers)


def _write_line(answer: Answer) -> str:
    places = [
        {
            **records.describe_place(place, answer.truth),
            "footprint": records.describe_footprint(place.footprint),
        }
        for place in answer.places
    ]
    return json.dumps({**records.describe_answer(answer), "places": places}, allow_nan=False) + "\n"
