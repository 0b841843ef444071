"""docs/stability.md and the code name the same things, each in exactly one class."""

import ast
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.documented import read_tokens
from tests.index.regions import TOY, indexed

import crossview
from crossview import cli, errors
from crossview.datasets.pair_lists import COLUMNS as PAIR_COLUMNS
from crossview.methods import api
from crossview.outputs.formats import FORMATS
from crossview.outputs.records import CLAIM_COLUMNS, COLUMNS, TRACK_COLUMNS
from crossview.service.regions import Regions
from crossview.service.server import create_app, list_routes

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "stability.md"
NESTED = ("calibrated", "claim", "places", "prior", "spot", "together")
CLASSES = ("stable", "settling", "internal")


def read_table(of):
    """Names by class of the table whose second heading this is; a name is what backticks hold."""
    rows, row = [], None
    for token in read_tokens(PAGE):
        if token.type == "tr_open":
            rows.append(row := [])
        elif token.type == "inline" and row is not None:
            row.append(token.content)
        elif token.type == "table_close":
            if rows[0][:2] == ["class", of]:
                return {kind: re.findall(r"`([^`]+)`", names) for kind, names, *_ in rows[1:]}
            rows, row = [], None
    raise AssertionError(f"{PAGE} has no table of {of}")


def public_errors():
    found = vars(errors).values()
    return {one.__name__ for one in found if isinstance(one, type) and issubclass(one, Exception)}


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    place = tmp_path_factory.mktemp("served")
    indexed(place, stride_m=50.0)
    app = create_app(Regions([place / "region.cvx"], lambda _index: TOY))
    with TestClient(app):
        yield app


@pytest.mark.parametrize(
    ("of", "names"),
    [
        ("names of `crossview`", crossview.__all__),
        ("names of `crossview.errors`", public_errors()),
        ("names of `crossview.methods.api`", api.__all__),
        ("verbs", cli.VERBS),
        ("columns of `pairs.csv`", PAIR_COLUMNS),
        ("names of the formats", {*COLUMNS, *CLAIM_COLUMNS, *TRACK_COLUMNS, *NESTED}),
        ("formats", FORMATS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_public_name_is_in_one_class(of, names):
    check(of, names)


def check(of, names):
    table = read_table(of)
    listed = [name for kind in table.values() for name in kind]
    assert set(table) <= set(CLASSES)
    assert len(listed) == len(set(listed)), "a name is in two classes"
    missing, gone = set(names) - set(listed), set(listed) - set(names)
    assert not missing, f"{PAGE.name} gives no class to {sorted(missing)} (table: {of})"
    assert not gone, f"{sorted(gone)} of {PAGE.name} is gone: was it retired as the page says?"


def test_every_route_is_in_one_class(application):
    routes = {
        f"{method} {route.path}"
        for route in list_routes(application)
        for method in (getattr(route, "methods", None) or set()) - {"HEAD"}
    }
    check("routes", routes)


def test_every_record_of_the_service_is_in_one_class(application):
    check("records in the OpenAPI document", application.openapi()["components"]["schemas"])


def list_formats():
    """The number of every format that a file of the package declares, and where it does."""
    for path in sorted((ROOT / "src/crossview").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign):
                name, value = getattr(node.targets[0], "id", ""), node.value
            elif isinstance(node, ast.AnnAssign) and "Literal" in ast.unparse(node.annotation):
                name, value = getattr(node.target, "id", ""), node.value
            else:
                continue
            constant = isinstance(value, ast.Constant) and isinstance(value.value, int)
            if name in {"FORMAT", "FORMAT_VERSION", "format"} and constant:
                yield f"{path.relative_to(ROOT / 'src/crossview').as_posix()}: {name}", value.value


def test_every_format_of_a_file_is_in_one_class_with_its_number():
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| .* \| .*?(\d+) \| `([^`]+)` \|$", text, re.M)
    assert {where: int(number) for _, number, where in rows} == dict(list_formats())
    assert len(rows) == len(list(list_formats()))
    assert {kind for kind, _, _ in rows} <= set(CLASSES)


def test_the_versions_that_the_page_tells_are_those_of_the_code():
    from crossview.worlds.town import TOWN_VERSION

    assert f"`{TOWN_VERSION}`" in PAGE.read_text(encoding="utf-8")


def test_exit_codes_are_those_of_the_page(capsys):
    assert cli.main(["--version"]) == 0
    assert cli.main(["doctr"]) == 2
    assert cli.main(["index", "nowhere.tif", "--out", "a.cvx", "--dry-run"]) == 1
    assert "nowhere.tif" in capsys.readouterr().err
