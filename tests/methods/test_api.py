"""One import has all that a method of one's own needs."""

import ast
from pathlib import Path

from crossview.methods import api

ROOT = Path(__file__).parents[2]


def imports(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node.module for node in nodes if isinstance(node, ast.ImportFrom)]


def test_all_names_are_there_once_and_in_order():
    assert sorted(api.__all__) == sorted(set(api.__all__))
    assert all(hasattr(api, name) for name in api.__all__)
    public = {name for name in vars(api) if not name.startswith("_")}
    assert public - {"annotations"} == set(api.__all__)


def test_the_page_of_the_documents_needs_one_import_of_ours():
    modules = imports(ROOT / "docs" / "examples" / "mine.py")
    assert [name for name in modules if name.startswith("crossview")] == ["crossview.methods.api"]


def test_no_page_of_the_catalogue_uses_it():
    pages = (ROOT / "src" / "crossview" / "methods").glob("*.py")
    assert not [page for page in pages if "crossview.methods.api" in imports(page)]
