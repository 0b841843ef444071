"""The catalogue of sentences: whole, and nothing in it that nobody says."""

import re
from importlib.resources import files

import pytest

from crossview.reports.published import STANDINGS
from crossview.texts import _load_texts, phrase

ROOMS = [
    files("crossview.reports"),
    files("crossview.reports") / "templates",
    files("crossview.outputs"),
]
SOURCES = [
    file.read_text(encoding="utf-8")
    for folder in ROOMS
    for file in folder.iterdir()
    if file.name.endswith((".py", ".html"))
]
KEYS = {
    key for text in SOURCES for key in re.findall(r"[\"']([a-z_]+(?:\.[a-z0-9_]+)+)[\"']", text)
}
# Keys of which a part is filled in, such as phrase(f"conditions.{name}").
STEMS = {
    stem
    for text in SOURCES
    for stem in re.findall(r"phrase\((?:f?[\"'])([a-z_.]+\.)(?:[\"'] ~|\{)", text)
}


def leaves(texts, path=""):
    for name, value in texts.items():
        if isinstance(value, dict) and "other" not in value:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


LEAVES = set(leaves(_load_texts()))


def test_every_text_is_said_somewhere():
    chosen = {leaf for leaf in LEAVES if any(leaf.startswith(stem) for stem in STEMS)}
    assert LEAVES - KEYS - chosen == set()


@pytest.mark.parametrize("standing", STANDINGS)
def test_every_standing_of_a_published_figure_is_explained(standing):
    assert phrase(f"standings.{standing}")


def test_a_text_that_counts_knows_one_and_many():
    assert phrase("page.runs", count=1) == "1 run"
    assert phrase("page.runs", count=2) == "2 runs"


def test_what_a_text_needs_must_be_given():
    with pytest.raises(KeyError):
        phrase("overview.n")
    with pytest.raises(KeyError):
        phrase("overview.nothing")
