"""The journeys in docs/architecture.md, checked against the calls that are really made.

A line of a journey names a file and what happens there. The files are first entered in the order of
the lines, and each from one other file of the list only: data that has left a file does not come
back. Who calls what it was handed enters no file by it, whoever handed it on has: a record's
methods, an open network, a method's page, a function as a value. What was handed is what the
caller's code does not name, or only as a type. The files of ``cli``, which print and count progress
on the way, may come back.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import threading
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import meadow, region
from tests.tiny_pairs import write_pairs
from tests.toy_model import toy_model

import crossview
from crossview.cli import main
from crossview.outputs.map_page import write_map

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = str(Path(crossview.__file__).parent)
TINY = {"widths": [8, 16, 16], "blocks": [1, 1, 1], "depth": 8, "batch": 4, "steps": 2}


def journeys() -> dict[str, list[str]]:
    """By journey: its files in the order of the document."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition("## Journeys")[2], flags=re.MULTILINE)[0]
    section = re.sub(r"\n {2,}", " ", section)  # steps of several lines
    by_name = {}
    for part in re.split(r"^### ", section, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        by_name[name.strip()] = re.findall(r"^\d+\. `([\w/.]+)`", rest, flags=re.MULTILINE)
    return by_name


class Trace:
    """Which file of the package called which, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []  # (the nearest file that is listed, file)
        self.entries: list[tuple[str, str]] = []  # of these, all that were not handed on

    def clear(self) -> None:
        """Forget what was called until now."""
        self.calls.clear()
        self.entries.clear()

    def order(self) -> list[str]:
        """Files in the order in which they were first entered."""
        return list(dict.fromkeys(entered for _, entered in self.calls))

    def origins(self, file: str) -> list[str]:
        """By whom a file was entered: first by anyone, again by files other than those of cli."""
        first, *later = dict.fromkeys(
            origin for origin, entered in self.entries if entered == file and origin
        ) or [""]
        return [first, *(origin for origin in later if not origin.startswith("cli/"))]


def find_caller(frame, package: str) -> FrameType | None:
    """The next frame below in the package: through libraries and templates, if need be."""
    caller = frame.f_back
    while caller is not None and not (
        caller.f_code.co_filename.startswith(package) and caller.f_code.co_filename.endswith(".py")
    ):
        caller = caller.f_back
    return caller


def was_handed(frame, caller, package: str) -> bool:
    """Whether the code of a caller does not name what it calls."""
    file, name = frame.f_code.co_filename, frame.f_code.co_qualname.partition(".")[0]
    if caller.f_code.co_filename == file:
        return False
    return (file, name) not in names_used(caller.f_code.co_filename, package)


def belongs_to_record(frame) -> bool:
    """Whether a frozen record is asked for something: it travels along, wherever it was made."""
    owner = frame.f_locals.get("self")
    params = getattr(type(owner), "__dataclass_params__", None)
    return (params is not None and params.frozen) or isinstance(owner, tuple)


@cache
def names_used(path: str, package: str) -> frozenset[tuple[str, str]]:
    """(file, name in it) of all of a package that the code of a file names, not only as types."""
    root = Path(package)
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):  # what says types only
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                node.body = []
            case ast.arg() | ast.AnnAssign():
                node.annotation = ast.Constant(None)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                node.returns = None
    objects, modules = {}, {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        folder = root.parent / node.module.replace(".", "/")
        for alias in node.names:
            name, said = alias.name, alias.asname or alias.name
            if (module := folder / f"{name}.py").is_file():
                modules[said] = str(module)
            elif folder.with_suffix(".py").is_file():
                objects[said] = (str(folder.with_suffix(".py")), name)
    used = {
        (modules[node.value.id], node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
    }
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return frozenset(used | {objects[name] for name in named & set(objects)})


@contextmanager
def traced(listed: Container[str], package: str = PACKAGE) -> Iterator[Trace]:
    """Record calls between the listed files, also those made through others, in all threads."""
    trace = Trace()

    def shorten(frame) -> str:
        name = frame.f_code.co_filename
        short = name[len(package) + 1 :].replace("\\", "/") if name.startswith(package) else ""
        return short if short in listed else ""

    def note(frame, event, _argument) -> None:
        if event != "call" or not (entered := shorten(frame)):
            return
        handed, caller = belongs_to_record(frame), frame
        while caller is not None:
            if caller.f_code.co_name == "<module>":
                return  # what runs on import is no step of the data
            called, caller = caller, find_caller(caller, package)
            if caller is None:
                break
            handed = handed or was_handed(called, caller, package)
            if shorten(caller):
                break
        origin = shorten(caller) if caller is not None else ""
        if origin != entered:
            trace.calls.append((origin, entered))
            if not handed:
                trace.entries.append((origin, entered))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Imagery with an index, a photo, pairs and vectors of them."""
    place = tmp_path_factory.mktemp("journeys")
    region(place)
    toy_model(place / "model")
    Image.fromarray(meadow(160, 320)).save(place / "photo.jpg")
    write_pairs(place / "pairs", 12)
    vectors = np.random.default_rng(0).standard_normal((2, 12, 8)).astype(np.float32)
    for name, side in zip(("queries", "references"), vectors, strict=True):
        np.save(place / f"{name}.npy", side)
    run(index(place, "region.cvx"))
    run(evaluate(place, "measured"))
    return place


def run(arguments: list[str]) -> None:
    assert main([*arguments, "--quiet"]) == 0


def index(place: Path, out: str) -> list[str]:
    return [
        "index", str(place / "aerial.tif"), "--model", str(place / "model"),
        "--out", str(place / out), "--stride", "40",
    ]  # fmt: skip


def evaluate(place: Path, out: str) -> list[str]:
    return [
        "evaluate", "--data", f"pairs:{place / 'pairs' / 'pairs.csv'}", "--split", "train",
        "--query-embeddings", str(place / "queries.npy"), "--label", "vectors",
        "--reference-embeddings", str(place / "references.npy"), "--out", str(place / out),
    ]  # fmt: skip


def locate_photo(place: Path, _trace: Trace) -> None:
    run([
        "locate", str(place / "photo.jpg"), "--index", str(place / "region.cvx"),
        "--out", str(place / "places.jsonl"),
    ])  # fmt: skip


def write_page(place: Path, trace: Trace) -> None:
    index = crossview.Index.open(place / "region.cvx")
    answer = crossview.locate(index, place / "photo.jpg")
    trace.clear()
    assert write_map(place / "map.html", index, [answer]) == []


def index_imagery(place: Path, _trace: Trace) -> None:
    run(index(place, "new.cvx"))


def train_on_pairs(place: Path, _trace: Trace) -> None:
    settings = [f"--config={name}={value}" for name, value in TINY.items()]
    run([
        "train", "--method", "compass", "--data", f"pairs:{place / 'pairs' / 'pairs.csv'}",
        "--out", str(place / "run"), "--device", "cpu", "--workers", "0", *settings,
    ])  # fmt: skip


def evaluate_and_report(place: Path, _trace: Trace) -> None:
    run(evaluate(place, "evaluation"))
    run(["report", str(place / "evaluation"), "--out", str(place / "report")])


class DecodersOfThisProcess:
    """Does the work of decoders where the trace sees it."""

    free, slow = 1, 0

    def __init__(self, work: Callable[..., object], *_: object, **__: object) -> None:
        self.work = work

    def submit(self, data: object, *rest: object, **_: object) -> Future[object]:
        done: Future[object] = Future()
        done.set_result(self.work(bytes(data), *rest))
        return done

    def close(self) -> None:
        pass


def upload_photo(place: Path, trace: Trace) -> None:
    from starlette.testclient import TestClient

    from crossview.model import open_model
    from crossview.service.regions import Regions
    from crossview.service.server import create_app
    from crossview.service.settings import Settings

    regions = Regions([place / "region.cvx"], lambda _index: open_model(place / "model"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crossview.service.photo_queue.Decoders", DecodersOfThisProcess)
        app = create_app(regions, Settings())
    with TestClient(app) as client, (place / "photo.jpg").open("rb") as photo:
        trace.clear()  # of what the server opened when it was started
        assert client.post("/v1/locate", files={"photo": photo}).status_code == 200


TRAVELS: dict[str, Callable[[Path, Trace], None]] = {
    "Photo to places": locate_photo,
    "Places to map page": write_page,
    "GeoTIFF to index": index_imagery,
    "Pairs to trained network": train_on_pairs,
    "Vectors to figures to report": evaluate_and_report,
    "Upload to answer": upload_photo,
}


def test_the_document_has_these():
    assert list(journeys()) == list(TRAVELS)


@pytest.mark.parametrize("name", TRAVELS)
def test_the_files_are_entered_in_the_order_that_the_document_has(folder, name):
    listed = journeys()[name]
    with traced(set(listed)) as trace:
        TRAVELS[name](folder, trace)
    assert trace.order() == listed
    later = {file: again for file in listed if (again := trace.origins(file)[1:])}
    assert {file: again for file, again in later.items() if not file.startswith("cli/")} == {}


TOWN = {
    "road": "def drive(load): return load + 1\n\nclass Cart:\n    def pull(self): return 2\n",
    "mill": "from town.road import drive\ndef grind(corn): return drive(corn)\n",
    "ferry": "from town.road import Cart\n"
    "def carry(cart: Cart): return cart.pull()\n"
    "def ship(send): return send(1)\n",
    "farm": "from town import ferry, mill\nfrom town.road import Cart, drive\n"
    "def sow(): return drive({work})\n",
}


@pytest.mark.parametrize(
    ("work", "again"),
    [("mill.grind(1)", ["farm.py"]), ("ferry.carry(Cart())", []), ("ferry.ship(drive)", [])],
)
def test_a_second_entry_is_seen_and_what_was_handed_on_is_none(tmp_path, work, again, monkeypatch):
    town = tmp_path / "town"
    town.mkdir()
    for name, code in TOWN.items():
        (town / f"{name}.py").write_text(code.replace("{work}", work), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("town", *(f"town.{name}" for name in TOWN)):
        monkeypatch.delitem(sys.modules, name, raising=False)
    farm = importlib.import_module("town.farm")
    with traced({"farm.py", "mill.py", "ferry.py", "road.py"}, str(town)) as trace:
        farm.sow()
    for name in [name for name in sys.modules if name.partition(".")[0] == "town"]:
        monkeypatch.delitem(sys.modules, name)
    assert trace.origins("road.py")[1:] == again
