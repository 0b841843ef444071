import hashlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.index.regions import indexed
from tests.localization.fake_index import ORIGIN, index_of_panoramas, spheres, toy
from tests.outputs.fakes import contribution, prior_shift

from crossview import __version__
from crossview.errors import CannotWrite
from crossview.files import printable
from crossview.index.store import Index
from crossview.localization.audit import append_records, make_audit_record
from crossview.localization.hints import Hints
from crossview.localization.locate import locate

EMBEDDER = toy()
ROOT = Path(__file__).resolve().parents[2]
PANORAMAS = spheres(4)


@pytest.fixture
def index():
    return index_of_panoramas(PANORAMAS, EMBEDDER)


def test_a_record_names_files_assumptions_versions_hints_and_result(index):
    hints = Hints(near=ORIGIN, within_m=500.0, places=2)
    answer = locate(index, PANORAMAS[2], hints=hints, embedder=EMBEDDER)
    record = json.loads(json.dumps(make_audit_record(answer, hints, index)))
    assert record["photo_sha256"] == hashlib.sha256(PANORAMAS[2].tobytes()).hexdigest()
    assert record["model_fingerprint"] == EMBEDDER.fingerprint
    assert record["index_fingerprint"] == index.fingerprint
    assert record["hints"]["near"] == {"lat": ORIGIN.lat, "lon": ORIGIN.lon}
    assert record["hints"]["places"] == 2
    assert record["versions"]["crossview"] == __version__
    assert record["places"][0]["window"] == 2
    assert len(record["places"]) == 2
    assert "fov_deg" not in record["hints"]


def test_a_record_names_every_photo_of_a_spot_and_what_a_picture_made_of_its_prior(index):
    found = locate(index, PANORAMAS[2], embedder=EMBEDDER)
    whole = replace(found, prior=prior_shift(), together=(contribution("a.jpg", foreign=0.9),))
    record = json.loads(json.dumps(make_audit_record(whole, Hints(), index)))
    assert record["together"] == [{"photo": "a.jpg", "photo_sha256": "cd" * 32, "foreign": 0.9}]
    assert record["prior"]["sigma_m"] == 30.0
    assert record["prior"]["first_moved_m"] == 12.345
    alone = make_audit_record(found, Hints(), index)
    assert (alone["together"], alone["prior"]) == ([], None)


def test_a_record_says_how_well_position_and_heading_are_known(index):
    found = locate(index, PANORAMAS[2], embedder=EMBEDDER)
    first = replace(found.places[0], position_sigma_m=1.5, heading_sigma_deg=0.75)
    told = make_audit_record(replace(found, places=(first,)), Hints(), index)["places"][0]
    assert (told["position_sigma_m"], told["heading_sigma_deg"]) == (1.5, 0.75)


def test_the_index_is_the_one_that_was_opened_whatever_became_of_it_since(tmp_path):
    made = indexed(tmp_path, embedder=EMBEDDER, stride_m=40.0)
    file = made.path / "manifest.json"
    opened = Index.open(made.path)
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    answer = locate(opened, PANORAMAS[2], embedder=EMBEDDER)
    file.write_text(file.read_text() + " ")
    assert make_audit_record(answer, Hints(), opened)["index_fingerprint"] == before
    assert Index.open(made.path).fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()


def test_records_are_added_to_those_that_are_there(tmp_path):
    path = tmp_path / "audit.jsonl"
    append_records(path, [{"photo": "a"}, {"photo": "\udcff"}])
    append_records(path, [{"photo": "c"}])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["photo"] for line in lines] == ["a", "\ufffd", "c"]


def test_names_are_valid_text_and_those_that_the_places_have(tmp_path):
    name = "caf\udce9 \ud800 Köln\n.jpg"
    append_records(tmp_path / "audit.jsonl", [{"photo": name, "hints": {name: [name]}}])
    record = json.loads((tmp_path / "audit.jsonl").read_text())
    assert record == {"photo": printable(name), "hints": {printable(name): [printable(name)]}}
    assert json.dumps(record, ensure_ascii=False).encode()


def test_a_line_that_a_killed_process_left_torn_is_ended_first(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text('{"photo": "a"}\n{"photo": "b", "pla')
    append_records(path, [{"photo": "c"}])
    assert path.read_text().splitlines()[1:] == ['{"photo": "b", "pla', '{"photo": "c"}']


ADDING = """
import sys
from pathlib import Path
from crossview.files import printable
from crossview.localization.audit import append_records
for i in range(8):
    append_records(Path(sys.argv[1]), [{"who": sys.argv[2], "i": i, "pad": "x" * 3000}])
"""


def test_processes_that_add_at_once_lose_no_record(tmp_path):
    path = tmp_path / "audit.jsonl"
    processes = [
        subprocess.Popen([sys.executable, "-c", ADDING, str(path), str(who)], cwd=ROOT)
        for who in range(6)
    ]
    assert [process.wait() for process in processes] == [0] * 6
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert {(r["who"], r["i"]) for r in records} == {
        (str(w), i) for w in range(6) for i in range(8)
    }
    assert len(records) == 48
    assert [p.name for p in tmp_path.iterdir()] == ["audit.jsonl"]


def test_processes_that_are_killed_while_they_add_cost_others_nothing(tmp_path):
    path = tmp_path / "audit.jsonl"
    command = [sys.executable, "-c", ADDING.replace("8", "10_000"), str(path), "killed"]
    for delay_s in (0.0, 0.05, 0.1):
        before = path.stat().st_size if path.exists() else 0
        with subprocess.Popen(command, cwd=ROOT) as process:
            while not path.exists() or path.stat().st_size == before:
                assert process.poll() is None
                time.sleep(0.005)
            time.sleep(delay_s)
            process.kill()
        append_records(path, [{"who": "here", "after": delay_s}])
    lines = path.read_text().splitlines()
    here = [json.loads(line)["after"] for line in lines if line.startswith('{"who": "here"')]
    assert here == [0.0, 0.05, 0.1]
    assert sum(line.startswith('{"who": "killed"') for line in lines) >= 3


def test_what_is_no_file_is_not_added_to(tmp_path):
    with pytest.raises(CannotWrite, match="it is a folder"):
        append_records(tmp_path, [{}])


def test_a_record_that_cannot_be_written_leaves_the_earlier_ones(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CannotWrite, match="cannot be added"):
        append_records(path, [{}])
    assert path.read_bytes() == b"\xff\xfe"
