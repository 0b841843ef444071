"""Answers as a spreadsheet: CSV, one row per place."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from crossview.maps.records import answer_record, place_record
from crossview.retrieval.places import Answer

COLUMNS = (
    "photo", "rank", "lat", "lon", "score", "heading_deg", "probability", "kind", "fov_deg",
    "fov_source", "confidence",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(answers: Iterable[Answer]) -> str:
    """One row per place, best first; what is unknown is empty.

    A file name that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    stream = io.StringIO()
    table = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for answer in answers:
        about = answer_record(answer)
        if about["photo"].startswith(_FORMULA):
            about["photo"] = f"'{about['photo']}"
        for place in answer.places:
            table.writerow({**about, **place_record(place, None)})
    return stream.getvalue()
