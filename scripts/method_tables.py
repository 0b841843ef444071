"""The tables of methods in the documents, made of what each method's page says of its paper.

    python -m scripts.method_tables            # write them: make tables
    python -m scripts.method_tables --check    # say which are stale, and write nothing

Between two marks, ``<!-- NAME: make tables -->`` and ``<!-- /NAME -->``, a document is made; all
else in it is written by hand. Pages are read as texts: nothing of them runs, torch is not imported.
"""

from __future__ import annotations

import ast
import math
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from crossview.catalogue import BENCHMARKS, METHODS
from crossview.pairs.page_ref import PageRef

ROOT = Path(__file__).resolve().parents[1]
ONE_EACH = "one per field of view"  # how a table says that each of its columns is another training
NOTES = re.compile(r"docs/methods/([\w-]+\.md)")


@dataclass(frozen=True)
class Page:
    """A method, and what its page says of its paper."""

    root: Path
    method: str

    @cached_property
    def ref(self) -> PageRef:
        """Read from its file, so that nothing of the page runs."""
        return PageRef.of_file(self.root / "src" / f"{METHODS[self.method].replace('.', '/')}.py")

    @property
    def path(self) -> str:
        """Of the page, from the top of the repository."""
        return f"src/{METHODS[self.method].replace('.', '/')}.py"

    @property
    def notes(self) -> str:
        """The name of its notes in docs/methods, which may be those of several; else empty."""
        if (self.root / "docs" / "methods" / f"{self.method}.md").is_file():
            return f"{self.method}.md"
        text = (self.root / self.path).read_text(encoding="utf-8")
        named = NOTES.search(ast.get_docstring(ast.parse(text)) or "")
        return named[1] if named else ""

    @property
    def cost(self) -> Mapping[str, Any]:
        """What a network of it was published to cost."""
        return dict(self.ref.read_literal("COST", {}))

    def list_trainings(self) -> Iterator[Training]:
        """Of every recipe that reproduces published rows, one for each of its data sets."""
        for line, rows in self.ref.read_literal("REPRODUCES", {}).items():
            recipe = line.partition(" ")[0]
            family = recipe.partition("-")[0]
            own = max((d for d in BENCHMARKS if f"{recipe}-".startswith(f"{d}-")), default="")
            for data in (own,) if own else list_data(family):
                yield Training(self.method, line, data, tuple(rows))


@dataclass(frozen=True)
class Training:
    """A command that trains a recipe, and the published rows that it is for."""

    method: str
    line: str  # the recipe, and what its command needs besides
    data: str
    rows: tuple[str, ...]  # NAME, NAME: VARIANT, NAME @FIELD

    @property
    def run(self) -> str:
        """The folder that it trains into."""
        recipe = self.line.partition(" ")[0]
        family = recipe.partition("-")[0]
        of_family = self.data.startswith(f"{family}-") and not recipe.startswith(self.data)
        named = self.data + recipe.removeprefix(family) if of_family else recipe
        return f"runs/{self.method}-{named if family != 'university' else recipe}"

    @property
    def command(self) -> str:
        """Whole, with a word in capitals for the folder of the data."""
        line = self.line.format(data=self.data)
        data = "" if "--data" in line else f" --data {place(self.data)}"
        return f"crossview train --method {self.method} --recipe {line}{data} --val-share 0 " + (
            f"--out {self.run}"
        )


def list_data(family: str) -> tuple[str, ...]:
    """The data sets of a family that one recipe trains on: both of VIGOR's areas."""
    names = {"vigor": ("vigor-same", "vigor-cross"), "university": ("university-1652",)}
    return names.get(family, (family,))


def place(data: str) -> str:
    """A data set with its folder in capitals, as the reader has to put it in."""
    return f"{data}:{data.partition('-')[0].upper()}"


@dataclass(frozen=True)
class Field:
    """All methods, and all published tables."""

    root: Path

    @cached_property
    def pages(self) -> list[Page]:
        """In the order of their names."""
        return [Page(self.root, method) for method in METHODS]

    @cached_property
    def trainings(self) -> list[Training]:
        """Of all pages; some may serve no published row."""
        return [training for page in self.pages for training in page.list_trainings()]

    @cached_property
    def tests(self) -> list[dict[str, Any]]:
        """The files of published figures."""
        folder = self.root / "src" / "crossview" / "reports" / "published"
        files = sorted(file for file in folder.glob("*.toml") if file.stem != "methods")
        return [tomllib.loads(file.read_text(encoding="utf-8")) for file in files]

    def find_trainings(self, table: Mapping[str, Any], method: str, how: str) -> list[Training]:
        """What can give a row, in the order of its columns; empty where nothing can."""
        label = f"{method}: {how}" if how else method
        labels = [label]
        if table.get("models") == ONE_EACH:
            labels = [f"{label} @{fov}" for fov in as_list(table["fov_deg"])]
        of_data = [one for one in self.trainings if one.data == table["trained_on"]]
        return [one for label in labels for one in of_data if label in one.rows]

    def list_used(self) -> list[Training]:
        """The trainings that some row needs, and those that they begin from, by name."""
        rows = [row for row in self._list_rows() if row[0].get("ablation", False) is False]
        used = {one.run: one for row in rows for one in self.find_trainings(*row)}
        first = {name for one in used.values() for name in one.command.split()}
        used |= {one.run: one for one in self.trainings if one.run in first}
        return [used[run] for run in sorted(used)]

    def list_unknown(self) -> list[str]:
        """Labels of pages that no published table has."""
        known = {
            label
            for table, method, how in self._list_rows()
            for fov in ("", *(f" @{fov}" for fov in as_list(table.get("fov_deg"))))
            for label in [(f"{method}: {how}" if how else method) + fov]
        }
        named = {(one.method, label) for one in self.trainings for label in one.rows}
        return sorted(f"{method}: {label}" for method, label in named if label not in known)

    def _list_rows(self) -> Iterator[tuple[dict[str, Any], str, str]]:
        for test in self.tests:
            for table in test["tables"]:
                yield from ((table, method, how) for method, how, *_ in table["rows"])


def as_list(value: Any) -> list[Any]:
    """A single value as a list of one."""
    return list(value) if isinstance(value, list) else [value]


def tabulate(head: str, rows: Iterator[str] | Sequence[str]) -> str:
    """A Markdown table."""
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])


def make_method_table(field: Field) -> str:
    """Of README: method, page and notes, paper."""
    rows = []
    for page in field.pages:
        notes = f", [notes](docs/methods/{page.notes})" if page.notes else ""
        title = page.ref.read_title()
        rows.append(f"| `{page.method}` | [one page]({page.path}){notes} | {title} |")
    rows.append(
        "| `./mine.py` | [an example](docs/examples/mine.py) | "
        "[write your own](docs/adding-a-method.md) |"
    )
    return tabulate("| method | page | paper |", rows)


def make_pages(field: Field) -> str:
    """Of the site: a section for each page, which shows it whole."""
    rows = []
    for page in field.pages:
        notes = f"[notes]({page.notes})" if page.notes else ""
        rows.append(f"| [`{page.method}`](#{page.method}) | {notes} | {page.ref.read_title()} |")
    sections = [
        f'## `{page.method}`\n\n``` {{ .python }}\n--8<-- "{page.path}"\n```'
        for page in field.pages
    ]
    return "\n\n".join([tabulate("| method | notes | paper |", rows), *sections])


def make_run_table(field: Field) -> str:
    """Of the reproduction: a command for each training that a published row needs."""
    rows = [f"| `{one.run}` | `{one.command}` |" for one in field.list_used()]
    return tabulate("| run | command |", rows)


def make_rows(field: Field) -> str:
    """Of the reproduction: every published table, row by row."""
    names = {re.split(r": | @", label)[0] for one in field.trainings for label in one.rows}
    tables = [
        "\n\n".join(describe_table(field, names, test, table))
        for test in field.tests
        for table in test["tables"]
        if not table.get("ablation", False)
    ]
    return "\n\n".join(tables)


def describe_table(
    field: Field, names: set[str], test: Mapping[str, Any], table: Mapping[str, Any]
) -> Iterator[str]:
    """Its heading, what it was measured on, the command that asks a run, and its rows."""
    yield f"### {test['title']}: {table['source']}"
    fovs = ", ".join(f"{fov:g}" for fov in as_list(table.get("fov_deg")) if fov is not None)
    yield (
        f"{table['standing'].capitalize()}; trained on {table['trained_on']}, headings "
        f"{table['headings']}"
        + (f", {fovs} degrees" if fovs else "")
        + (f"; {table['models']}" if "models" in table else "")
        + f". {' / '.join(table['columns'])}."
    )
    lines, asked = [], False
    for method, how, *values in table["rows"]:
        runs = field.find_trainings(table, method, how)
        asked = asked or bool(runs)
        state = "not run" if runs else "none: no settings were published"
        lines.append(
            f"| {method} | {how} | "
            + " / ".join("-" if math.isnan(value) else f"{value:g}" for value in values)
            + f" | {state if method in names else 'no page'} | "
            + ", ".join(f"`{one.run}`" for one in runs)
            + " |"
        )
    if asked:
        yield f"Asked by {compose_question(test, table)}."
    yield tabulate("| method | | published | crossview | run |", lines)


def compose_question(test: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    """The command that measures a run as a table was measured."""
    split = f" --split {test['split']}" if test["split"] != "test" else ""
    line = f"crossview evaluate RUN --data {place(test['data'][0])}{split}"
    if table.get("fov_deg") is None:
        return f"`{line}`"
    fovs = as_list(table["fov_deg"])
    each = len(fovs) > 1 and table.get("models") == ONE_EACH
    asked = "FIELD" if each else ",".join(f"{fov:g}" for fov in fovs)
    words = f"`{line} --headings {table['headings']} --fov {asked}`"
    return f"{words} (every run at its own field of view)" if each else words


def make_cost_table(field: Field) -> str:
    """Of the reproduction: what networks were published to cost."""
    rows = [
        f"| `{page.method}` | {page.cost['parameters_m']} M | {page.cost['macs_g']} G | "
        f"{page.cost.get('ms_per_pair', '')} | {page.cost['source']} | "
        f"[counted](methods/{page.notes}#cost) |"
        for page in field.pages
        if page.cost
    ]
    return tabulate(
        "| method | parameters | multiply-adds | ms a pair | published in | crossview |", rows
    )


MADE = {  # document: what is made in it, by name
    "README.md": {"methods": make_method_table},
    "docs/methods/pages.md": {"pages": make_pages},
    "docs/reproduction.md": {
        "runs": make_run_table,
        "rows": make_rows,
        "cost": make_cost_table,
    },
}


def renew(root: Path, name: str) -> tuple[str, str]:
    """A document as it is, and as it should be."""
    before = (root / name).read_text(encoding="utf-8")
    after, field = before, Field(root)
    for part, make in MADE[name].items():
        opening, closing = f"<!-- {part}: make tables -->\n", f"\n<!-- /{part} -->"
        head, found, rest = after.partition(opening)
        _, ended, tail = rest.partition(closing)
        if not (found and ended):
            raise SystemExit(f"{name}: the marks {opening.strip()} and {closing.strip()} are gone.")
        after = f"{head}{opening}\n{make(field)}\n{closing}{tail}"
    return before, after


def main(words: Sequence[str], root: Path = ROOT) -> int:
    """0 where every document is as it should be."""
    if unknown := Field(root).list_unknown():
        raise SystemExit(f"REPRODUCES names rows that no published table has: {unknown}")
    stale = {
        name: after for name in MADE for before, after in [renew(root, name)] if before != after
    }
    for name, text in stale.items():
        if "--check" not in words:
            (root / name).write_text(text, encoding="utf-8")
        print(f"{name}: {'stale; run make tables' if '--check' in words else 'written anew'}")
    return int(bool(stale) and "--check" in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
