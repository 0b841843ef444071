"""The commands that the documents show, read by a Markdown parser, and what is known of each.

``documented.toml`` says of every line in a block of code who runs it, or what it needs that is not
here.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SHELLS = ("", "sh", "bash")
PROGRAMS = ("crossview", "make", "python", "python3", "pip", "curl", "docker", ".")
RULES = ("run", "elsewhere", "absent")


@dataclass(frozen=True)
class Shown:
    """A command line as a page shows it, on one line and without its comment."""

    page: str
    line: str

    @property
    def words(self) -> list[str]:
        """The words that a shell would make of it."""
        return shlex.split(self.line)


@cache
def read_tokens(path: Path) -> list[Token]:
    """The page as blocks of text, headings, code."""
    return MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))


def list_links(path: Path) -> list[str]:
    """What links and pictures of a page lead to."""
    inner = [t for block in read_tokens(path) for t in block.children or ()]
    return [str(t.attrGet("href") or t.attrGet("src")) for t in inner if t.type in _LINKS]


_LINKS = ("link_open", "image")


def list_anchors(path: Path) -> set[str]:
    """The names of a page's sections, spelt as GitHub and the site spell them."""
    tokens = read_tokens(path)
    texts = [
        "".join(
            t.content for t in tokens[n + 1].children or () if t.type in ("text", "code_inline")
        )
        for n, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in texts}


def read_commands(path: Path) -> Iterator[Shown]:
    """Every command line in the page's blocks of code, in their order."""
    for token in read_tokens(path):
        if token.type not in ("code_block", "fence") or token.info.strip() not in SHELLS:
            continue
        for line in re.sub(r"\\\n\s*", "", token.content).splitlines():
            words = line.split()
            if words and words[0] in PROGRAMS:
                text = shlex.join(shlex.split(line, comments=True))
                yield Shown(str(path.relative_to(ROOT)), text)


def read_mentions(path: Path) -> Iterator[list[str]]:
    """The words of every ``crossview ...`` in a page's sentences and tables."""
    for block in read_tokens(path):
        for token in block.children or ():
            if token.type == "code_inline" and token.content.startswith("crossview "):
                yield shlex.split(token.content)[1:]


@cache
def read_rules() -> list[tuple[str, dict[str, Any]]]:
    """The table, as (kind, entry), in the order in which a line is looked for."""
    table = tomllib.loads((ROOT / "tests" / "documented.toml").read_text(encoding="utf-8"))
    assert set(table) == set(RULES)
    return [(kind, entry) for kind in RULES[::-1] for entry in table[kind]]


def find_rule(shown: Shown) -> tuple[str, dict[str, Any]] | None:
    """The first entry whose pattern is the whole line, or None."""
    for kind, entry in read_rules():
        if re.fullmatch(entry["line"], shown.line):
            return kind, entry
    return None
