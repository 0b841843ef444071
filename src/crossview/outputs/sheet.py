"""Answers as a spreadsheet: CSV, one row per place."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from crossview.outputs.records import COLUMNS, cell_text, place_rows
from crossview.retrieval.places import Answer

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


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
