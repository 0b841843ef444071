"""The house as drawn in docs/architecture.md: who may import whom, how deep, by which names.

``python scripts/house.py --list`` prints what is counted here, with every case by name.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from scripts.house import House, imported_names, on_import

import crossview
from crossview.catalogue import METHODS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "crossview"

# A room imports only rooms of earlier rows. Rooms of one row do not know each other.
ROWS = [
    ["errors"],
    ["arrays"],
    ["files"],
    ["schema"],
    ["lists"],
    ["locks"],
    ["downloads"],
    ["stats"],
    ["texts"],
    ["geo"],
    ["views"],
    ["worlds"],
    ["imagery"],
    ["pairs"],
    ["street"],
    ["networks"],
    ["hub"],
    ["runtime"],
    ["model"],
    ["index"],
    ["localization"],
    ["evaluation"],
    ["calibration"],
    ["web"],
    ["outputs"],
    ["training"],
    ["explain"],
    ["reports"],
    ["service"],
    ["datasets", "methods"],
    ["catalogue"],
    ["assessment"],
    ["adaptation"],
    ["region_model"],
    ["studies"],
    ["demo"],
    ["cli"],
    ["__main__"],
]
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}
EVERYWHERE = {"errors", "arrays", "files", "schema", "lists", "locks", "stats", "texts"}
ONLY = {
    "worlds": {"geo", "views"},
    "methods": {"views", "pairs", "networks"},
    "datasets": {"geo", "views", "pairs"},
}
CATALOGUES = {"datasets", "methods"}
TORCH = {"torch", "torchvision", "timm", "accelerate"}
TORCH_ROOMS = {"networks", "methods", "training", "explain", "studies"}
# Inside a function, when training is asked for.
TORCH_LATER = {"pairs", "catalogue", "assessment", "adaptation", "cli"}
HEAVY = {
    *(
        *TORCH,
        "cv2",
        "onnxruntime",
        "openvino",
        "rasterio",
        "fastapi",
        "starlette",
        "uvicorn",
        "httpx",
        "owslib",
    ),
    "numpy",
}

SOURCES = sorted(PACKAGE.rglob("*.py"))
PYTHON_FILES = [p for top in ("src", "tests", "benchmarks") for p in (ROOT / top).rglob("*.py")]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def arrows() -> list[tuple[str, str, str]]:
    """(file, its room, a room that it imports), imports inside functions included."""
    found = set()
    for path in SOURCES:
        for name in imported_names(path, ast.walk(parsed(path))):
            top, _, rest = name.partition(".")
            room = rest.partition(".")[0]
            if top == "crossview" and room in RANK and room != room_of(path):
                found.add((path.relative_to(PACKAGE).as_posix(), room_of(path), room))
    return sorted(found)


def test_every_room_is_in_the_drawing():
    assert {room_of(path) for path in SOURCES} - {"__init__", "_version"} <= set(RANK)


def test_rooms_import_only_rooms_before_them():
    wrong = [a for a in arrows() if a[1] in RANK and RANK[a[2]] >= RANK[a[1]]]
    assert wrong == []


@pytest.mark.parametrize("room", ONLY)
def test_some_rooms_know_even_less(room):
    wrong = [a for a in arrows() if a[1] == room and a[2] not in ONLY[room] | EVERYWHERE]
    assert wrong == []


def test_the_catalogues_are_opened_by_the_wiring_only():
    """Studies compose their variants of a method from the functions of its page."""
    allowed = {("catalogue", "methods"), ("catalogue", "datasets"), ("studies", "methods")}
    assert [a for a in arrows() if a[2] in CATALOGUES and a[1:] not in allowed] == []


def test_files_and_arrays_know_only_errors_and_errors_know_nobody():
    assert {a[2] for a in arrows() if a[1] in EVERYWHERE - {"locks"}} <= {"errors", "arrays"}
    assert {a[2] for a in arrows() if a[1] == "locks"} <= {"errors", "files"}


def test_torch_lives_in_four_rooms():
    wrong = []
    for path in SOURCES:
        room, tree = room_of(path), parsed(path)
        if room in TORCH_ROOMS:
            continue
        nodes = on_import(tree) if room in TORCH_LATER else ast.walk(tree)
        wrong += [(str(path), n) for n in imported_names(path, nodes) if n.split(".")[0] in TORCH]
    assert wrong == []


def test_everything_else_can_be_imported_where_there_is_no_torch():
    modules = [
        ".".join(["crossview", *path.relative_to(PACKAGE).with_suffix("").parts])
        for path in SOURCES
        if room_of(path) not in TORCH_ROOMS | {"__main__"}
    ]
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in sorted(TORCH))
    run_python(
        f"import sys, importlib\n{hidden}for m in {modules}:\n    importlib.import_module(m)"
    )


@pytest.mark.parametrize("arguments", [None, ["--help"], ["locate", "--help"], ["train", "--help"]])
def test_neither_import_nor_help_loads_anything_heavy(arguments):
    call = (
        ""
        if arguments is None
        else f"from crossview.cli import main\nassert main({arguments}) == 0\n"
    )
    said = run_python(f"import sys, crossview\n{call}print(*sys.modules, file=sys.stderr)")
    assert HEAVY & set(said.split()) == set()


def test_every_package_that_is_imported_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.split(r"[^\w.-]", line)[0].lower() for group in groups for line in group}
    providers = metadata.packages_distributions()
    ours = {"crossview", "tests", "benchmarks", "scripts", *sys.stdlib_module_names}
    wrong = set()
    for path in PYTHON_FILES:
        for name in imported_names(path, ast.walk(parsed(path))):
            top = name.partition(".")[0]
            given_by = {p.lower().replace("_", "-") for p in providers.get(top, [top])}
            if top not in ours and not given_by & declared:
                wrong.add((path.name, top))
    assert wrong == set()


def run_python(code: str) -> str:
    """Run in a fresh process; returns its stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_drawing_in_the_documents_is_the_one_tested():
    drawn = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    line = next(text for text in drawn.splitlines() if text.startswith("errors < "))
    rooms = [sorted(part.strip(" ()").split(", ")) for part in line.split(" < ")]
    there = [[r for r in row if exists(r)] for row in ROWS if row != ["__main__"]]
    assert rooms == [sorted(row) for row in there if row]


def exists(room: str) -> bool:
    return (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file()


# Depth and names.

HOUSE = House()
MOST_IMPORTS = 0.064  # of the lines
MOST_FILES = 240  # besides the pages of methods; what is one idea is one file
MOST_BEHIND_A_PAGE = 16
NOT_IMPERATIVE = {  # nouns of the field, and a copy that is returned (as ``sorted`` is)
    "crossview.networks.losses.learned_scale",
    "crossview.networks.losses.turning_info_nce",
    "crossview.studies.study.changed",
}


def test_no_file_imports_another_that_imports_it():
    assert HOUSE.circles() == []


def test_imports_are_few_beside_what_they_are_for():
    assert HOUSE.import_share() <= MOST_IMPORTS


def test_modules_are_few_and_deep():
    assert len(SOURCES) - len(METHODS) <= MOST_FILES


def test_a_module_is_a_noun_that_stands_once():
    assert HOUSE.base_names() == {}


def test_a_room_is_not_named_like_a_function_of_the_package():
    assert set(crossview.__all__) & HOUSE.rooms() == set()


def test_a_class_name_has_one_meaning():
    assert HOUSE.class_names() == {}


def test_functions_are_verbs_in_the_imperative():
    assert set(HOUSE.participles()) == NOT_IMPERATIVE


def test_a_type_has_one_name_and_array_types_one_home():
    assert HOUSE.aliases() == {}
    assert HOUSE.array_aliases() == []


@pytest.mark.parametrize("page", HOUSE.pages())
def test_a_page_rests_on_few_files_and_on_no_other_page(page):
    behind = HOUSE.closure(f"crossview.methods.{page}")
    assert len(behind) <= MOST_BEHIND_A_PAGE, sorted(behind)
    assert {n.rpartition(".")[2] for n in behind} & set(HOUSE.pages()) == {page}
