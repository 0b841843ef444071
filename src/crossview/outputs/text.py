"""Answers as text: a table for the terminal, CSV (a row per place), JSON lines (one per photo)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossview.files import printable
from crossview.outputs.records import (
    COLUMNS,
    answer_record,
    cell_text,
    confidence,
    distinct,
    footprint_record,
    map_address,
    place_record,
    place_rows,
    short_names,
    stands_out,
)
from crossview.retrieval.places import Answer

_OPTIONAL = {"heading": "heading_deg", "probability": "probability", "error": "error_m"}
_WIDE = 100_000  # columns: nothing is folded
_MANY = 12  # more photos than this: what is assumed of how many of them, not of each
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def to_table(answers: Sequence[Answer], *, top: int = 5) -> str:
    """The best ``top`` places of each picture as text.

    Columns that no place can fill (heading, error, probability) are left out. Remarks (what was
    assumed, how far to trust the first place, where it is on openstreetmap.org) and warnings stand
    below. No name and no address is broken over lines: a terminal wraps them, and they can be
    copied whole.
    """
    stream = io.StringIO()
    page = Console(file=stream, width=_WIDE, color_system=None, highlight=False, emoji=False)
    page.print(_build_table(answers, top))
    lines = [line.rstrip() for line in stream.getvalue().split("\n")[:-1]]
    return "\n".join([*lines, *_write_remarks(answers)]) + "\n"


def _build_table(answers: Sequence[Answer], top: int) -> Table:
    rows = [[place_record(p, answer.truth) for p in answer.places[:top]] for answer in answers]
    shown = [n for n, key in _OPTIONAL.items() if any(key in row for some in rows for row in some)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("photo", no_wrap=True, overflow="ignore")
    for name in ("place", "latitude", "longitude", "score", *shown):
        table.add_column(name, justify="right", no_wrap=True)
    names = short_names([answer.photo for answer in answers])
    for name, records in zip(names, rows, strict=True):
        for row, record in enumerate(records or [{}]):
            table.add_row(Text("" if row else name), *_format_cells(record, shown))
    return table


def _format_cells(record: dict[str, Any], shown: list[str]) -> list[str]:
    """The row of one place; a dash where a picture has none."""
    if not record:
        return ["-"] * (4 + len(shown))
    fixed = [str(record["rank"]), f"{record['lat']:.6f}", f"{record['lon']:.6f}"]
    forms = {"heading": _format_bearing, "probability": "{:.0%}".format, "error": _format_metres}
    optional = [
        forms[name](record[_OPTIONAL[name]]) if _OPTIONAL[name] in record else "-" for name in shown
    ]
    return [*fixed, f"{record['score']:.3f}", *optional]


def _format_bearing(bearing: float) -> str:
    return f"{round(bearing) % 360}°"


def _format_metres(distance_m: float) -> str:
    return f"{distance_m:.1f} m" if distance_m < 10_000 else f"{distance_m / 1000:.0f} km"


def _write_remarks(answers: Sequence[Answer]) -> list[str]:
    lines = []
    if len(answers) > _MANY:
        lines += _summarize_remarks(answers)
    else:
        names = short_names([answer.photo for answer in answers])
        for name, answer in zip(names, answers, strict=True):
            remarks = [*distinct(answer.assumptions), confidence(answer)]
            lines.append(f"{name}: {'; '.join(remarks)}")
            if answer.places:
                lines.append(f"  First place: {map_address(answer.places[0].latlon)}")
    warnings = distinct(text for answer in answers for text in answer.warnings)
    return lines + [f"Warning: {text}" for text in warnings]


def _summarize_remarks(answers: Sequence[Answer]) -> list[str]:
    """How many photos rest on which assumption, and for how many a place stands out."""
    counts = Counter(
        short
        for answer in answers
        for short in {_shorten_assumption(text) for text in answer.assumptions}
    )
    clear = sum(stands_out(answer) for answer in answers)
    return [
        f"A place stands out for {clear} of {len(answers)} photos.",
        *(f"Of {count} photos: {short}" for short, count in counts.most_common()),
        *(["CSV, JSON lines and the map page tell what is assumed of each."] if counts else []),
    ]


def _shorten_assumption(assumption: str) -> str:
    """An assumption without what is of one photo: numbers stand in brackets, or after a colon."""
    return printable(re.sub(r" ?\([^)]*\)", "", assumption).split(":")[0])


def to_csv(answers: Iterable[Answer]) -> str:
    """One row per place, best first; what is unknown is empty.

    A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    stream = io.StringIO()
    table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    table.writeheader()
    for answer in answers:
        for row in place_rows(answer):
            table.writerow({name: safe_cell(value) for name, value in row.items()})
    return stream.getvalue()


def safe_cell(value: Any) -> Any:
    """A cell of a table for people: numbers as they are, and no text that is a formula.

    Names of files and labels come from strangers, and a spreadsheet runs ``=cmd`` on opening.
    """
    if value is None or isinstance(value, int | float):
        return value
    text = cell_text(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def to_jsonl(answers: Iterable[Answer]) -> str:
    """One line of strict JSON (ASCII, no NaN) per answer, in the order given."""
    return "".join(_write_line(answer) for answer in answers)


def _write_line(answer: Answer) -> str:
    places = [
        {**place_record(place, answer.truth), "footprint": footprint_record(place.footprint)}
        for place in answer.places
    ]
    return json.dumps({**answer_record(answer), "places": places}, allow_nan=False) + "\n"
