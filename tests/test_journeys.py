"""The journeys in docs/architecture.md, checked against the calls that are really made.

A line of a journey names a file and what happens there. The files are first entered in the order of
the lines, and each from one other file of the list only, unless the line says "Again by" another:
data that has left a file does not come back. Left out of the second rule are the files of ``cli``,
which print and count progress on the way, and methods of frozen records, which travel along.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import meadow, region
from tests.tiny_pairs import write_pairs
from tests.toy_model import toy_model

import crossview
from crossview.cli import main

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = str(Path(crossview.__file__).parent)
TINY = {"widths": [8, 16, 16], "blocks": [1, 1, 1], "depth": 8, "batch": 4, "steps": 2}


def journeys() -> dict[str, dict[str, list[str]]]:
    """By journey: its files in the order of the document, and by whom each is entered again."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition("## Five journeys")[2], flags=re.MULTILINE)[0]
    section = re.sub(r"\n {2,}", " ", section)  # steps of several lines
    by_name = {}
    for part in re.split(r"^### ", section, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        steps = re.findall(r"^\d+\. `([\w/.]+)`(.*)", rest, flags=re.MULTILINE)
        by_name[name.strip()] = {
            file: re.findall(r"`([\w/.]+)`", text.partition("Again by")[2]) for file, text in steps
        }
    return by_name


class Trace:
    """Which file of the package called which, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []  # (the nearest file that is listed, file)
        self.of_files: set[tuple[str, str]] = set()  # of these, all but a record's own methods

    def clear(self) -> None:
        """Forget what was called until now."""
        self.calls.clear()
        self.of_files.clear()

    def order(self) -> list[str]:
        """Files in the order in which they were first entered."""
        return list(dict.fromkeys(entered for _, entered in self.calls))

    def origins(self, file: str) -> list[str]:
        """By whom a file was entered: first by anyone, again by files other than those of cli."""
        origins = dict.fromkeys(origin for origin, entered in self.calls if entered == file)
        first = next(iter(origins))
        return [
            origin
            for origin in origins
            if origin == first
            or (origin and not origin.startswith("cli/") and (origin, file) in self.of_files)
        ]


def belongs_to_record(frame) -> bool:
    """Whether a frozen record is asked for something: it travels along, wherever it was made."""
    params = getattr(type(frame.f_locals.get("self")), "__dataclass_params__", None)
    return params is not None and params.frozen


@contextmanager
def traced(listed: Container[str]) -> Iterator[Trace]:
    """Record calls between the listed files, also those made through others, in all threads."""
    trace = Trace()

    def listed_file(frame) -> str:
        name = frame.f_code.co_filename
        short = name[len(PACKAGE) + 1 :].replace("\\", "/") if name.startswith(PACKAGE) else ""
        return short if short in listed else ""

    def note(frame, event, _argument) -> None:
        if event != "call" or not (entered := listed_file(frame)):
            return
        caller = frame
        while caller is not None and (caller is frame or not listed_file(caller)):
            if caller.f_code.co_name == "<module>" and caller.f_code.co_filename.startswith(
                PACKAGE
            ):
                return  # what runs on import is no step of the data
            caller = caller.f_back
        origin = listed_file(caller) if caller is not None else ""
        if origin != entered:
            trace.calls.append((origin, entered))
            if not belongs_to_record(frame):
                trace.of_files.add((origin, entered))

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
        "--out", str(place / "places.jsonl"), "--map", str(place / "map.html"),
    ])  # fmt: skip


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
    "GeoTIFF to index": index_imagery,
    "Pairs to trained network": train_on_pairs,
    "Vectors to figures to report": evaluate_and_report,
    "Upload to answer": upload_photo,
}


def test_the_document_has_the_five():
    assert list(journeys()) == list(TRAVELS)


@pytest.mark.parametrize("name", TRAVELS)
def test_the_files_are_entered_in_the_order_that_the_document_has(folder, name):
    listed = journeys()[name]
    with traced(set(listed)) as trace:
        TRAVELS[name](folder, trace)
    assert trace.order() == list(listed)
    later = {file: trace.origins(file)[1:] for file in listed if not file.startswith("cli/")}
    assert later == {file: listed[file] for file in later}
