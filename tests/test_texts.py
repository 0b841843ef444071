"""The catalogue of sentences: whole in every language, and nothing in it that nobody says."""

import re
import string
import threading
import tomllib
from importlib.resources import files

import pytest

from crossview import texts
from crossview.errors import UnknownName
from crossview.reports.published import STANDINGS
from crossview.texts import choose_language, get_language, list_languages, phrase, speak

ROOMS = [
    files("crossview.reports"),
    files("crossview.reports") / "templates",
    files("crossview.outputs"),
    files("crossview.web") / "page",
]
SOURCES = [
    file.read_text(encoding="utf-8")
    for folder in ROOMS
    for file in folder.iterdir()
    if file.name.endswith((".py", ".html", ".js"))
]
KEYS = {
    key for text in SOURCES for key in re.findall(r"[\"']([a-z_]+(?:\.[a-z0-9_]+)+)[\"']", text)
}
# Keys of which a part is filled in, such as phrase(f"conditions.{name}").
STEMS = {
    stem
    for text in SOURCES
    for stem in re.findall(r"phrase\((?:f?[\"'`])([a-z_.]+\.(?:[a-z]+_)?)(?:[\"'] ~|\$?\{)", text)
}


MARKS = {"language.name", "numbers.decimal", "numbers.thousands"}  # said by texts.py itself


def read(language):
    file = files("crossview") / "languages" / f"{language}.toml"
    return dict(list_leaves(tomllib.loads(file.read_text(encoding="utf-8"))))


def list_leaves(table, path=""):
    for name, value in table.items():
        if isinstance(value, dict) and "other" not in value:
            yield from list_leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def list_fields(text):
    """Placeholders with how their values are written; of a text that counts, of both its forms."""
    forms = text.values() if isinstance(text, dict) else [text]
    return [
        {(name, spec) for _, name, spec, _ in string.Formatter().parse(form) if name is not None}
        for form in forms
    ]


ENGLISH = read("en")
OTHERS = [language for language in list_languages() if language != "en"]


def test_every_text_is_said_somewhere():
    said = {leaf for leaf in ENGLISH if any(leaf.startswith(stem) for stem in STEMS)}
    assert set(ENGLISH) - KEYS - said - MARKS == set()


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_has_every_text_and_no_other(language):
    assert set(read(language)) == set(ENGLISH)


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_fills_in_the_same_values(language):
    own = read(language)
    wrong = [key for key in ENGLISH if list_fields(own[key]) != list_fields(ENGLISH[key])]
    assert wrong == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_text_counts_in_every_language_or_in_none(language):
    own = read(language)
    assert {key for key in own if isinstance(own[key], dict)} == {
        key for key in ENGLISH if isinstance(ENGLISH[key], dict)
    }
    assert all(set(text) == {"one", "other"} for text in own.values() if isinstance(text, dict))


@pytest.mark.parametrize("language", OTHERS)
def test_spaces_at_the_ends_are_kept_because_texts_are_joined(language):
    own = read(language)
    for key, text in ENGLISH.items():
        if isinstance(text, str):
            ends = [(t[:1].isspace(), t[-1:].isspace(), bool(t)) for t in (text, own[key])]
            assert ends[0] == ends[1], key


def test_english_is_spoken_unless_a_block_asks_for_another_language(german):
    assert (get_language(), phrase("page.runs", count=2)) == ("en", "2 runs")
    with speak("de-AT"):
        assert (get_language(), phrase("page.runs", count=2)) == ("de", "2 Läufe")
    assert get_language() == "en"


def test_what_a_language_lacks_is_said_in_english(german):
    with speak("de"):
        assert phrase("page.runs", count=1) == "1 Lauf"
        assert phrase("page.tests", count=2) == "2 tests"
        assert phrase("results.row") == "Run or method"


def test_numbers_have_the_marks_of_the_language_and_texts_stay_as_they_are(german):
    values = {"n": 8464, "unit": "1,234.5"}
    assert phrase("differences.over", **values) == "8,464 1,234.5"
    with speak("de"):
        assert phrase("differences.over", **values) == "8.464 1,234.5"


def test_threads_speak_their_own_languages(german):
    heard = []
    with speak("de"):
        thread = threading.Thread(target=lambda: heard.append(get_language()))
        thread.start()
        thread.join()
        assert (heard, get_language()) == (["en"], "de")


@pytest.mark.parametrize("name", ["klingon", "", "d", "../en", "e" * 500])
def test_a_language_that_nobody_wrote_is_refused_with_those_that_there_are(name):
    with pytest.raises(UnknownName, match="Known: .*en"), speak(name):
        pass


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-CH, fr;q=0.9", "de"),
        ("fr, de;q=0.5, en;q=0.8", "en"),
        ("fr;q=1, nl", "en"),
        ("en;q=0, de;q=0.1", "de"),
        ("de;q=0", "en"),
        ("*, de;q=0.1", "en"),
        ("DE;Q=1", "de"),
        ("de;q=zzz, en;q=9", "en"),
        ("de;q=" + "9" * 5000, "en"),
        (",;q=;;,-,de-" + "x" * 100_000, "de"),
        ("x" * 100_000 + ",de", "en"),
    ],
)
def test_a_browser_says_which_languages_its_user_reads(german, accepted, chosen):
    assert choose_language(accepted) == chosen


@pytest.fixture
def german(monkeypatch):
    """A German that lacks almost everything, whatever German the package has."""
    own = {
        "numbers": {"decimal": ",", "thousands": "."},
        "page": {"runs": {"one": "{count} Lauf", "other": "{count} Läufe"}},
    }
    english = texts._load_texts("en")
    monkeypatch.setattr(texts, "list_languages", lambda: ("de", "en"))
    monkeypatch.setattr(
        texts,
        "_load_texts",
        lambda language: english if language == "en" else texts._complete(own, english),
    )
    texts._open_formatter.cache_clear()
    yield
    texts._open_formatter.cache_clear()


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
