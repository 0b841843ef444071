"""The documents are complete and true: verbs, options, links, make targets."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import typer
from scripts.links import list_addresses
from scripts.release_check import MACHINE_PATHS
from tests.documented import (
    DOCUMENTS,
    ROOT,
    find_rule,
    list_anchors,
    list_links,
    read_commands,
    read_mentions,
    read_rules,
)

from crossview import cli
from crossview.errors import CrossviewError

MANUAL = ROOT / "docs" / "commands.md"
TEXTS = [
    *DOCUMENTS,
    *(ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run", "CITATION.cff")),
    *(p for top in ("src", "tests", "benchmarks") for p in sorted((ROOT / top).rglob("*.py"))),
]
OF_EVERY_COMMAND = {"--help", "--verbose", "--log"}  # the manual says of them above all verbs


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
    return {o for o in named if o.startswith("--")} | OF_EVERY_COMMAND


def section(verb: str) -> str:
    parts = re.split(r"^## ", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = [part for part in parts if part.startswith(f"`crossview {verb}`")]
    assert len(found) == 1, f"docs/commands.md has {len(found)} sections '## `crossview {verb}`'"
    return found[0]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_of_a_verb_is_in_the_manual(verb):
    written = set(re.findall(r"--[a-z][a-z0-9-]*", section(verb)))
    assert options(verb) - OF_EVERY_COMMAND - written == set()


def test_options_of_every_command_are_in_the_manual_before_the_first_verb():
    text = MANUAL.read_text(encoding="utf-8").partition("\n## ")[0]
    assert [option for option in OF_EVERY_COMMAND if f"`{option}" not in text] == []


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_in_the_manual_exists(verb):
    listed = re.findall(r"^\| `(--[^`]*)`", section(verb), flags=re.MULTILINE)
    written = {name for cell in listed for name in re.findall(r"--[a-z][a-z0-9-]*", cell)}
    assert written - options(verb) == set()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_has_a_line_of_help(verb):
    assert [p.name for p in parameters(verb) if not getattr(p, "help", "")] == []


def parse(words: list[str]) -> None:
    """Read a command line by the real parser, up to where the verb would begin its work."""
    command, context = _group(), None
    while True:
        context = command.make_context(words[0] if words else "", list(words), parent=context)
        words = [*context._protected_args, *context.args]
        if not hasattr(command, "commands") and not isinstance(command, cli.Verbs):
            return
        _, command, words = command.resolve_command(context, words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_commands_that_a_document_shows_can_be_given(path):
    """Every option exists, every value is of its type, and nothing that is required is missing."""
    wrong = []
    for shown in read_commands(path):
        if shown.words[0] == "crossview":
            try:
                parse(shown.words[1:])
            except (typer.TyperException, CrossviewError) as problem:
                wrong.append((shown.line, str(problem)))
    assert wrong == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_verbs_and_options_that_a_sentence_names_exist(path):
    wrong = []
    for verb, *rest in read_mentions(path):
        if verb.startswith("-") or verb == "VERB":
            continue
        known = options(verb) if verb in cli.VERBS else set()
        given = {word.partition("=")[0] for word in rest if word.startswith("--")}
        if verb not in cli.VERBS or given - known:
            wrong.append([verb, *rest])
    assert wrong == []


def test_every_command_of_the_documents_is_run_by_a_test_or_said_to_need_what_is_not_here():
    lines = [shown for path in DOCUMENTS for shown in read_commands(path)]
    unknown = {shown.line: shown.page for shown in lines if find_rule(shown) is None}
    assert unknown == {}, "give each an entry in tests/documented.toml"
    used = [find_rule(shown)[1]["line"] for shown in lines]
    assert [entry["line"] for _, entry in read_rules() if entry["line"] not in used] == []


@pytest.mark.parametrize(
    "entry", [e for kind, e in read_rules() if kind == "elsewhere"], ids=lambda e: e["line"][:40]
)
def test_what_another_test_is_said_to_run_stands_there(entry):
    assert entry["word"] in (ROOT / entry["by"]).read_text(encoding="utf-8")
    assert entry["why"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_make_targets_that_a_document_shows_exist(path):
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    shown = re.findall(r"(?:`|^\s*(?:\$ )?)make ([a-z-]+)", text, re.M)
    assert set(shown) - made == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_between_documents_lead_to_a_file_and_a_section_of_it(path):
    wrong = []
    for link in list_links(path):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in list_anchors(target)
        ):
            wrong.append(link)
    assert wrong == []


def test_every_page_has_its_place_in_the_navigation_of_the_site_and_links_stay_inside():
    """``make docs`` says the same; here it is said without the site's tools."""
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"([\w/+-]+\.md)$", text, flags=re.MULTILINE)
    of_methods = set(list_links(ROOT / "docs" / "methods" / "pages.md"))  # their notes
    listed += {f"methods/{link}" for link in of_methods if link.endswith(".md")} & pages
    assert sorted(listed) == sorted(pages), "every page of docs/ stands once in mkdocs.yml"
    for page in pages:
        path = ROOT / "docs" / page
        for link in list_links(path):
            if "://" not in link and not link.startswith(("#", "mailto:")):
                target = (path.parent / link.partition("#")[0]).resolve()
                assert target.is_relative_to(ROOT / "docs"), f"{page}: the site has no {link}"


def test_the_site_is_built_strictly():
    """A broken link ends ``make docs``: ``--quiet`` would hide it from ``strict``."""
    assert "\nstrict: true\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.search(r"mkdocs build$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)


def test_addresses_outside_are_few_and_listed_by_make_links():
    assert all(address.startswith("https://") for address in list_addresses())
    assert list_addresses() == sorted(set(list_addresses()))


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
