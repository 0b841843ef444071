"""Damage to an index is refused in our own words, and never another answer."""

import json
import random
import shutil

import pytest
from tests.index.regions import indexed, vectors_of
from tests.toy_embedder import toy_info

from crossview.errors import BadIndex, BadModel
from crossview.index import store
from crossview.index.store import Index
from crossview.model import read_info
from crossview.schema import parse_object, read_bytes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return indexed(tmp_path_factory.mktemp("whole")).path


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "region.cvx")


STRANGE = (
    None,
    -1,
    0,
    1.5,
    2**70,
    "x",
    "",
    [],
    [1],
    {},
    True,
    float("nan"),
    float("inf"),
    "\ud800",
)


def edits(values, rng, count):
    """Copies of JSON values in which one entry, at any depth, is another, gone or new."""
    for _ in range(count):
        edited = json.loads(json.dumps(values))
        place = edited
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = rng.choice(list(keys))
            if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
                place = place[key]
                continue
            break
        what = rng.random()
        if what < 0.7:
            place[key] = rng.choice(STRANGE)
        elif what < 0.85:
            del place[key]
        elif isinstance(place, dict):
            place["surprise"] = 1
        yield edited


def test_edited_manifests_are_refused(copy):
    path = copy / "manifest.json"
    whole = Index.open(copy).manifest
    values = json.loads(path.read_text())
    for edited in edits(values, random.Random(1), 600):
        path.write_text(json.dumps(edited))
        try:
            manifest = Index.open(copy).manifest
        except BadIndex:
            continue
        assert manifest == whole or edited["format_version"] == 1


@pytest.mark.parametrize("name", ["manifest.json", "segment-00001.vectors.npy",
                                  "segment-00002.places.npy", "segment-00003.offsets.npy",
                                  "segment-00000.thumbnails.bin"])  # fmt: skip
def test_no_flipped_bit_passes(copy, name):
    whole = Index.open(copy)
    data, rng = (copy / name).read_bytes(), random.Random(name)
    for _ in range(150):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (copy / name).write_bytes(flipped)
        try:
            index = Index.open(copy)
        except BadIndex:
            continue
        assert name == "manifest.json"  # white space between its values
        assert index.manifest == whole.manifest


def test_a_file_that_was_compared_is_read_again_only_when_it_changed(copy, monkeypatch):
    monkeypatch.setattr(store, "_SETTLED_NS", -(10**18))
    Index.open(copy)
    read = []
    digest = store.hashlib.file_digest
    monkeypatch.setattr(
        store.hashlib, "file_digest", lambda *a: read.append(a[0].name) or digest(*a)
    )
    Index.open(copy)
    assert read == []
    path = copy / "segment-00001.vectors.npy"
    path.write_bytes(path.read_bytes())
    vectors_of(Index.open(copy))
    assert [name.rsplit("/")[-1] for name in read] == [path.name]


def test_large_indexes_are_remembered_by_the_next_process_too(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_SETTLED_NS", -(10**18))
    monkeypatch.setattr(store, "KEPT_FROM_BYTES", 1)
    Index.open(copy)
    (kept,) = (tmp_path / "cache" / "crossview" / "compared").iterdir()
    monkeypatch.setattr(store, "_compared", {})
    monkeypatch.setattr(store.hashlib, "file_digest", None)
    Index.open(copy)
    kept.write_text("[damaged")
    monkeypatch.setattr(store, "_compared", {})
    monkeypatch.undo()
    Index.open(copy)


def test_edited_models_are_refused_in_our_words(tmp_path):
    values = toy_info().to_json()
    read = 0
    for edited in edits(values, random.Random(2), 500):
        (tmp_path / "model.json").write_text(json.dumps(edited))
        try:
            read_info(tmp_path)
            read += 1
        except BadModel:
            pass
    assert read < 150


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5_000, "[]", "\ufeff{}", "1" * 5000])
def test_json_that_is_no_object_or_too_deep_is_a_value_error(text):
    with pytest.raises(ValueError, match="."):
        parse_object(text.encode())


def test_files_beyond_the_bound_are_not_read(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 101)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read_bytes(tmp_path / "large", 100)
