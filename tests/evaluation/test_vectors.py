"""Results from elsewhere: whose row is whose, however names are spelled, and what is refused."""

import io
import unicodedata
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossview.errors import BadData
from crossview.evaluation.task import Pairs, Relation
from crossview.evaluation.vectors import order_rows, read_embeddings, read_ranking

IDS = ("g/müller.jpg", "g/b.jpg", "g/c.jpg")
SPELLED = (unicodedata.normalize("NFD", "./g/müller.jpg"), "g\\b.jpg", "g//c.jpg")
VECTORS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def refusal(path):
    with pytest.raises(BadData) as caught:
        order_rows(read_embeddings(path), IDS, str(path))
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize("kind", ["U", "S"])
def test_vectors_are_found_by_every_spelling_of_an_id(tmp_path, kind):
    ids = [name.encode() for name in SPELLED] if kind == "S" else list(SPELLED)
    path = saved(tmp_path / "v.npz", vectors=VECTORS[::-1], ids=np.array(ids[::-1]))
    ordered = order_rows(read_embeddings(path), IDS, str(path))
    lengths = np.linalg.norm(VECTORS, axis=1, keepdims=True)
    assert ordered == pytest.approx(VECTORS / lengths, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "factor"),
    [("float16", 1e2), ("float32", 1e38), ("float64", 1e300), ("longdouble", 1.0), (">f8", 1e200)],
)
def test_vectors_of_any_float_and_length_keep_their_directions(tmp_path, kind, factor):
    vectors = (VECTORS / np.abs(VECTORS).max()).astype(kind) * np.dtype(kind).type(factor)
    read = read_embeddings(saved(tmp_path / "v.npz", vectors=vectors)).vectors
    lengths = np.linalg.norm(VECTORS, axis=1, keepdims=True)
    assert read.dtype == np.float32
    assert read == pytest.approx(VECTORS / lengths, abs=1e-3 if kind == "float16" else 1e-6)


def test_one_picture_under_two_spellings_is_there_twice(tmp_path):
    ids = np.array([*SPELLED[:2], "./g/b.jpg"])
    assert "occurs twice" in refusal(saved(tmp_path / "v.npz", vectors=VECTORS, ids=ids))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"embeddings": VECTORS}, "no array named vectors; it has embeddings"),
        ({"vectors": VECTORS, "ids": np.array("g")}, r"expected ids as texts [N], got <U1 []"),
        ({"vectors": VECTORS, "ids": np.ones((3, 1))}, "expected ids as texts [N], got float64"),
        ({"vectors": VECTORS, "ids": np.array(["a"])}, "holds 1 ids for 3 vectors"),
        ({"vectors": np.float32(1.0)}, "expected vectors of floats [N, D]"),
        ({"vectors": np.array([None])}, "cannot be read as .npy or .npz"),
    ],
)
def test_arrays_that_cannot_be_ranked_are_named(tmp_path, arrays, said):
    assert said in refusal(saved(tmp_path / "v.npz", **arrays))


def packed():
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, vectors=VECTORS, ids=np.array(IDS), fingerprint="x")
        yield stream.getvalue()
    stream = io.BytesIO()
    np.save(stream, VECTORS)
    yield stream.getvalue()


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(list(packed())), st.integers(0, 10_000), st.binary(max_size=6))
def test_damaged_vectors_are_refused_in_our_words(tmp_path, data, start, put):
    start %= len(data)
    path = tmp_path / "v.npz"
    path.write_bytes(data[:start] + put + data[start + 3 :])
    with suppress(BadData):
        order_rows(read_embeddings(path), IDS, str(path))


def ranking(tmp_path, text):
    pairs, none = (Pairs.of(np.array(some)) for some in ([[0, 0], [1, 1], [2, 2]], []))
    relation = Relation(queries=3, references=3, right=pairs, near=none)
    references = tuple(name.replace("g/", "a/") for name in IDS)
    task = SimpleNamespace(query_ids=IDS, reference_ids=references, relation=relation)
    path = tmp_path / "r.csv"
    path.write_text(text, encoding="utf-8")
    return read_ranking(task, path).ranks.score


ROWS = "".join(f"{name};{name.replace('g', 'a', 1)};0,{95 - n}\n" for n, name in enumerate(IDS))


def test_a_ranking_with_decimal_commas_is_read_where_they_are_clear(tmp_path):
    assert ranking(tmp_path, f"query;reference;score\n{ROWS}").tolist() == [0.95, 0.94, 0.93]
    with pytest.raises(BadData, match="line 2: 4 cells, but the header has 3"):
        ranking(tmp_path, f"query,reference,score\n{ROWS}".replace(";", ","))


def test_a_ranking_is_found_by_every_spelling_of_an_id(tmp_path):
    text = ROWS
    for name, other in zip(IDS, SPELLED, strict=True):
        text = text.replace(f"{name};", f"{other};")
    assert ranking(tmp_path, f"query;reference;score\n{text}").tolist() == [0.95, 0.94, 0.93]
    with pytest.raises(BadData, match="line 5: this reference was ranked for this query before"):
        ranking(tmp_path, f"query;reference;score\n{ROWS}./g/b.jpg;a/b.jpg;0,5\n")


def test_a_score_that_is_missing_or_not_finite_is_refused(tmp_path):
    for score in ("", "nan", "inf", "high"):
        with pytest.raises(BadData, match="line 2: score is "):
            ranking(tmp_path, f"query,reference,score\ng/b.jpg,a/b.jpg,{score}\n")
