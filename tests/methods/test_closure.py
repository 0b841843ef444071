"""A page is read with few other files, and with none that is there for another method only."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from crossview.catalogue import METHODS

SOURCE = Path(__file__).parents[2] / "src"
MOST_FILES = 16  # the page itself counted
PAGES = sorted(METHODS.values())
BESIDE = {  # a page for use contrasts no pairs; Views, which it needs, stand beside those
    "crossview.methods.statewide": {
        "crossview.arrays"
    },  # the part that Sample4Geo shares cuts sectors, which only ConGeo and SinGeo use
    "crossview.methods.sample4geo": {"crossview.views.crops", "crossview.views.lens"},
    # an encoder of its own: what makes aligned views stands beside the branches on cut trunks
    "crossview.methods.oricnn": {
        "crossview.networks.backbones",
        "crossview.networks.weight_files",
    },
}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


def file_of(module: str) -> Path:
    return SOURCE.joinpath(*module.split(".")).with_suffix(".py")


@cache
def imports_of(module: str) -> dict[str, tuple[str, str]]:
    """Local name -> (module, name there; "" for the module itself), imports in functions too."""
    names = {}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crossview"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                target = (whole, "") if file_of(whole).is_file() else (node.module, alias.name)
                names[alias.asname or alias.name] = target
    return names


def closure(page: str) -> set[str]:
    """The modules of crossview that a page imports, directly or through others."""
    found, todo = {page}, [page]
    while todo:
        for module, _ in imports_of(todo.pop()).values():
            if module not in found and file_of(module).is_file():
                found.add(module)
                todo.append(module)
    return found


@cache
def definitions(module: str) -> dict[str, list[ast.stmt]]:
    """Top-level name -> the statements that bind it."""
    bound: dict[str, list[ast.stmt]] = {}
    for statement in tree_of(module).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            bound.setdefault(statement.name, []).append(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for node in (n for target in targets for n in ast.walk(target)):
                if isinstance(node, ast.Name):
                    bound.setdefault(node.id, []).append(statement)
    return bound


def references(module: str, statement: ast.stmt) -> set[tuple[str, str]]:
    """(module, name) of all that a statement uses of crossview."""
    imported, found = imports_of(module), set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            target, name = imported.get(node.value.id, ("", "?"))
            if target and not name:
                found.add((target, node.attr))
        elif isinstance(node, ast.Name):
            if node.id in imported:
                found.add(imported[node.id])
            elif node.id in definitions(module):
                found.add((module, node.id))
    return found


def used_modules(page: str) -> set[str]:
    """The modules of which the page uses something, directly or through what it uses."""
    found = {(page, name) for name in definitions(page)}
    todo = list(found)
    while todo:
        module, name = todo.pop()
        for statement in definitions(module).get(name, ()):
            for reference in references(module, statement) - found:
                if file_of(reference[0]).is_file():
                    found.add(reference)
                    todo.append(reference)
    return {module for module, name in found if name}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_read_with_few_other_files(page):
    assert len(closure(page)) <= MOST_FILES, sorted(closure(page))


@pytest.mark.parametrize("page", PAGES)
def test_no_file_is_there_for_another_method_only(page):
    assert closure(page) - used_modules(page) == BESIDE.get(page, set())
    others = {other for other in PAGES if other != page}
    assert closure(page) & others == set()
