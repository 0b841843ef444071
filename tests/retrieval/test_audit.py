import hashlib
import json

import pytest
from tests.retrieval.fake_index import ORIGIN, index_of_panoramas, spheres, toy

from crossview import __version__
from crossview.errors import CannotWrite
from crossview.retrieval.audit import append_records, audit_record
from crossview.retrieval.hints import Hints
from crossview.retrieval.locate import locate

EMBEDDER = toy()
PANORAMAS = spheres(4)


@pytest.fixture
def index(tmp_path):
    made = index_of_panoramas(PANORAMAS, EMBEDDER)
    made.path = tmp_path
    (tmp_path / "manifest.json").write_text("{}")
    return made


def test_a_record_names_files_assumptions_versions_hints_and_result(index):
    hints = Hints(near=ORIGIN, within_m=500.0, places=2)
    answer = locate(index, PANORAMAS[2], hints=hints, embedder=EMBEDDER)
    record = json.loads(json.dumps(audit_record(answer, hints, index)))
    assert record["photo_sha256"] == hashlib.sha256(PANORAMAS[2].tobytes()).hexdigest()
    assert record["model_fingerprint"] == EMBEDDER.fingerprint
    assert record["index_fingerprint"] == hashlib.sha256(b"{}").hexdigest()
    assert record["hints"]["near"] == {"lat": ORIGIN.lat, "lon": ORIGIN.lon}
    assert record["hints"]["places"] == 2
    assert record["versions"]["crossview"] == __version__
    assert record["places"][0]["window"] == 2
    assert len(record["places"]) == 2
    assert "fov_deg" not in record["hints"]


def test_records_are_added_to_those_that_are_there(tmp_path):
    path = tmp_path / "audit.jsonl"
    append_records(path, [{"photo": "a"}, {"photo": "\udcff"}])
    append_records(path, [{"photo": "c"}])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["photo"] for line in lines] == ["a", "\udcff", "c"]


def test_a_record_that_cannot_be_written_leaves_the_earlier_ones(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CannotWrite, match="cannot be added"):
        append_records(path, [{}])
    assert path.read_bytes() == b"\xff\xfe"
