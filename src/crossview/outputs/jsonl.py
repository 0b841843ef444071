"""Answers as JSON lines: one object per picture, places inside it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from crossview.outputs.records import answer_record, footprint_record, place_record
from crossview.retrieval.places import Answer


def to_jsonl(answers: Iterable[Answer]) -> str:
    """One line of strict JSON (ASCII, no NaN) per answer, in the order given."""
    return "".join(_line(answer) for answer in answers)


def _line(answer: Answer) -> str:
    places = [
        {**place_record(place, answer.truth), "footprint": footprint_record(place.footprint)}
        for place in answer.places
    ]
    return json.dumps({**answer_record(answer), "places": places}, allow_nan=False) + "\n"
