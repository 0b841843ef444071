"""The documents are complete and true: verbs, options, links, make targets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from crossview import cli

ROOT = Path(__file__).resolve().parents[1]
MANUAL = ROOT / "docs" / "commands.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [
    *DOCUMENTS,
    *(ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run", "CITATION.cff")),
    *(p for top in ("src", "tests", "benchmarks") for p in sorted((ROOT / top).rglob("*.py"))),
]
# Written in two halves, so that this file does not find itself.
MACHINE_PATHS = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "C:" + "\\Users", "/tmp" + "/"]


@cache
def parameters(verb: str) -> list[Any]:
    """Of a verb with verbs of its own, those of all of them."""
    command = _group().get_command(None, verb)
    inner = getattr(command, "commands", {}).values()
    found = [p for one in (command, *inner) for p in one.params]
    return [p for p in found if not getattr(p, "hidden", False)]


def _group() -> Any:
    return typer.main.get_command(cli.app)


def options(verb: str) -> set[str]:
    """Long options of a verb, both sides of a switch, and those of every command."""
    named = {o for p in parameters(verb) for o in [*p.opts, *p.secondary_opts]}
    return {o for o in named if o.startswith("--")} | {"--help"}


def section(verb: str) -> str:
    parts = re.split(r"^## ", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = [part for part in parts if part.startswith(f"`crossview {verb}`")]
    assert len(found) == 1, f"docs/commands.md has {len(found)} sections '## `crossview {verb}`'"
    return found[0]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_of_a_verb_is_in_the_manual(verb):
    written = set(re.findall(r"--[a-z][a-z0-9-]*", section(verb)))
    assert options(verb) - {"--help"} - written == set()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_in_the_manual_exists(verb):
    listed = re.findall(r"^\| `(--[^`]*)`", section(verb), flags=re.MULTILINE)
    written = {name for cell in listed for name in re.findall(r"--[a-z][a-z0-9-]*", cell)}
    assert written - options(verb) == set()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_has_a_line_of_help(verb):
    assert [p.name for p in parameters(verb) if not getattr(p, "help", "")] == []


def commands(path: Path) -> Iterator[list[str]]:
    """Every ``crossview ...`` that a document shows in code, as words."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"^ {4}(.*)", prose, flags=re.MULTILINE)
    for code in [*lines, *re.findall(r"`([^`\n]+)`", prose)]:
        for part in re.split(r"&&|\||;", code):
            if match := re.match(r"\s*(?:\$ )?(?:\S*/)?crossview (?=[a-z-])(.*)", part):
                yield shlex.split(match[1], comments=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_commands_that_a_document_shows_exist(path):
    wrong = []
    for verb, *rest in commands(path):
        if verb.startswith("-"):
            continue
        known = options(verb) if verb in cli.VERBS else set()
        given = {word.partition("=")[0] for word in rest if word.startswith("--")}
        if verb not in cli.VERBS or given - known:
            wrong.append([verb, *rest])
    assert wrong == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_make_targets_that_a_document_shows_exist(path):
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    shown = re.findall(r"(?:`|^\s*(?:\$ )?)make ([a-z-]+)", text, re.M)
    assert set(shown) - made == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    local = [t for t in targets if not t.startswith(("http:", "https:", "mailto:"))]
    assert [t for t in local if not (path.parent / t).exists()] == []


def test_the_changelog_has_a_heading_for_figures_that_moved():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[", text, flags=re.MULTILINE)
    assert "\n### Metrics\n" in text


def test_no_text_names_a_path_of_one_machine():
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in TEXTS
        for word in MACHINE_PATHS
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []


def test_what_contributors_are_sent_to_is_there():
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    for file, name in re.findall(r"`([\w./]+\.\w+)(?:: (\w+))?`", text):
        if "NAME" in file or "VERB" in file or "/" not in file:
            continue
        path = (
            ROOT / file if file.startswith(("tests/", "docs/")) else ROOT / "src/crossview" / file
        )
        assert path.is_file(), file
        assert re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")), (file, name)


def test_names_that_contributors_are_told_are_names_of_the_package():
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    words = {word for source in sources for word in re.findall(r"\w+", source)}
    assert set(re.findall(r"`(\w*_\w*)`", text)) - words == set()
