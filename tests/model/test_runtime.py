"""Another arithmetic: as good as float32 by measurement, or refused; missing things are named."""

import json
import sys
import threading

import numpy as np
import pytest
from tests.index.regions import added, indexed, region, vectors_of
from tests.toy_model import toy_model

import crossview
from crossview import runtime
from crossview.cli import main
from crossview.errors import InvalidValue, ModelMismatch, UnknownName, UsageError
from crossview.index.store import MANIFEST_NAME, Index
from crossview.localization.locate import draw_views, open_embedder
from crossview.model import Model, open_model
from crossview.runtime import (
    CALIBRATED,
    LEAST_COSINE,
    SAMPLE,
    Arithmetic,
    Drift,
    find_quantised,
    locate_quantised,
    require_bfloat16,
)

openvino = pytest.importorskip("openvino", reason="needs the package openvino")
INT8 = Arithmetic("onnxruntime", "int8")
ALL = [INT8, *(Arithmetic("openvino", precision) for precision in runtime.PRECISIONS)]
HAS_BFLOAT16 = bool(runtime.list_processor_flags() & runtime._BFLOAT16)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSVIEW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    return toy_model(tmp_path / "toy")


def views(count=40, seed=0):
    """Pictures as the toy's networks take them: lumps of colour."""
    lumps = np.random.default_rng(seed).integers(0, 255, (count, 4, 8, 3), dtype=np.uint8)
    return np.kron(lumps, np.ones((1, 4, 8, 1), np.uint8))


def opened(folder, arithmetic, pictures=None):
    model = open_model(folder, threads=1, arithmetic=arithmetic)
    model.settle("The meadow", lambda: views() if pictures is None else pictures)
    return model


@pytest.mark.parametrize("arithmetic", ALL, ids=str)
def test_vectors_are_those_of_float32_within_what_was_measured(folder, arithmetic):
    if arithmetic.precision == "bfloat16" and not HAS_BFLOAT16:
        pytest.skip("this processor has no bfloat16")
    model, exact = opened(folder, arithmetic), open_model(folder, threads=1)
    seen = views(seed=1)
    cosines = (model.aerial(seen) * exact.aerial(seen)).sum(1)
    assert cosines.min() > 0.995
    assert model.drift.least_cosine == pytest.approx(cosines.min(), abs=5e-3)
    assert model.drift.windows == 40 - 20  # the other half calibrates
    assert model.fingerprint == exact.fingerprint  # it is the same model


def test_float32_by_onnxruntime_is_the_yardstick_and_measures_nothing(folder, cache):
    model = open_model(folder)
    model.settle("The meadow", lambda: pytest.fail("no window is looked at"))
    assert model.drift is None
    assert not cache.exists()


def test_what_was_measured_is_not_measured_again(folder, monkeypatch):
    first = opened(folder, INT8).drift
    monkeypatch.setattr("crossview.model.measure_drift", lambda *_: pytest.fail("measured twice"))
    assert opened(folder, INT8).drift == first
    with pytest.raises(pytest.fail.Exception, match="measured twice"):
        opened(folder, INT8, views(seed=5))  # another region


def test_int8_is_calibrated_once_and_kept_by_the_network_s_bytes(folder, cache, monkeypatch):
    network = folder / "model.onnx"
    assert find_quantised(network) is None
    opened(folder, INT8)
    kept = find_quantised(network)
    assert len(kept) < len(network.read_bytes()) / 2
    monkeypatch.setattr("crossview.runtime.quantise", lambda *_: pytest.fail("made twice"))
    opened(folder, INT8, views(seed=5))
    other = toy_model(folder.parent / "other", dim=32) / "model.onnx"
    assert locate_quantised(other) != locate_quantised(network)


def test_two_that_ask_for_int8_at_once_get_the_same_network(folder):
    made = []
    threads = [threading.Thread(target=lambda: made.append(opened(folder, INT8))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, other = (model.aerial(views(seed=3)) for model in made)
    assert np.array_equal(one, other)
    assert [path.suffix for path in locate_quantised(folder / "model.onnx").parent.iterdir()] == [
        ".onnx"
    ]


def test_where_nothing_can_be_kept_it_works_all_the_same(folder, cache, caplog):
    cache.write_text("a file where a folder should be")
    model = opened(folder, INT8)
    assert model.drift.is_small
    assert "not kept" in caplog.text


def test_int8_that_nobody_calibrated_says_what_to_do(folder):
    model = open_model(folder, arithmetic=INT8)
    with pytest.raises(UsageError, match=r"not calibrated.*\n.*Model.settle"):
        model.aerial(views())


@pytest.mark.parametrize("arithmetic", [INT8, Arithmetic("openvino", "int8")], ids=str)
def test_a_network_that_bytes_cannot_hold_is_refused_with_the_numbers(tmp_path, arithmetic):
    """One input is a thousand times as large as the others, and weighs a thousandth."""
    import onnx

    folder = toy_model(tmp_path / "steep")
    network = onnx.load(folder / "model.onnx")
    scale = np.ones(96, np.float32)
    scale[:3] = 1e4
    graph = network.graph
    (matrix,) = (t for t in graph.initializer if t.name == "matrix")
    weights = onnx.numpy_helper.to_array(matrix) / scale[:, None]
    matrix.CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float32), "matrix"))
    graph.initializer.append(onnx.numpy_helper.from_array(scale, "scale"))
    where = [node.op_type for node in graph.node].index("MatMul")
    graph.node[where].input[0] = "scaled"
    graph.node.insert(where, onnx.helper.make_node("Mul", ["flat", "scale"], ["scaled"]))
    onnx.save(network, folder / "model.onnx")
    with pytest.raises(ModelMismatch) as refused:
        opened(folder, arithmetic)
    said = str(refused.value)
    assert said.startswith(f"The meadow: int8 by {arithmetic.runtime}: on 20 windows")
    assert f"a cosine of {LEAST_COSINE} at the worst" in said
    assert "--precision" in said


@pytest.mark.parametrize(
    ("changes", "small"),
    [
        ({}, True),
        ({"least_cosine": LEAST_COSINE - 1e-6}, False),
        ({"same_places": 0.89}, False),
        ({"least_cosine": float("nan")}, False),
    ],
)
def test_the_bounds_are_inclusive_and_nan_is_beyond(changes, small):
    facts = {"least_cosine": LEAST_COSINE, "median_cosine": 1.0, "same_places": 0.9}
    assert Drift("int8 by openvino", 96, **{**facts, **changes}).is_small == small


def test_names_are_checked_and_onnxruntime_has_no_bfloat16():
    with pytest.raises(UnknownName, match="Known: onnxruntime, openvino"):
        Arithmetic("tensorrt")
    with pytest.raises(UnknownName, match="Known: bfloat16, float32, int8"):
        Arithmetic("openvino", "int4")
    with pytest.raises(InvalidValue, match="--runtime openvino --precision bfloat16"):
        Arithmetic("onnxruntime", "bfloat16")


@pytest.mark.parametrize(
    ("hidden", "arithmetic"),
    [("openvino", Arithmetic("openvino")), ("onnx", INT8)],
)
def test_what_is_not_installed_is_named(folder, monkeypatch, hidden, arithmetic):
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(UsageError, match=rf"{hidden}, which is not[\s\S]*crossview\[openvino\]"):
        opened(folder, arithmetic)


def test_bfloat16_is_refused_where_the_processor_would_imitate_it(monkeypatch):
    monkeypatch.setattr(runtime, "list_processor_flags", lambda: frozenset({"avx512f"}))
    with pytest.raises(UsageError, match="no instructions for bfloat16"):
        require_bfloat16()


def test_an_index_says_what_computed_it_and_may_be_asked_in_float32(tmp_path, folder, monkeypatch):
    plain = indexed(tmp_path, embedder=open_model(folder), name="plain.cvx")
    assert "drifts" not in json.loads((plain.path / MANIFEST_NAME).read_text())
    int8 = opened(folder, INT8)
    index = indexed(tmp_path, embedder=int8)
    assert index.manifest.drifts == (int8.drift,)
    assert not np.array_equal(vectors_of(index), vectors_of(plain))
    assert (vectors_of(index) * vectors_of(plain)).sum(1).min() > 0.995
    assert open_embedder(index, folder).drift is None
    monkeypatch.setattr(runtime, "LEAST_COSINE", 1.0)
    with pytest.raises(ModelMismatch, match=r"region.cvx: int8 by onnxruntime: on 20 windows"):
        open_embedder(index, folder)


def test_what_is_added_in_another_arithmetic_is_noted(tmp_path, folder):
    indexed(tmp_path, embedder=open_model(folder))
    other = region(tmp_path, "other.tif", seed=1)
    fast = opened(folder, Arithmetic("openvino"))
    assert added(tmp_path, [other], fast).manifest.drifts == (fast.drift,)


def test_a_region_is_looked_at_in_a_stated_sample(tmp_path, folder):
    index = indexed(tmp_path, embedder=open_model(folder), stride_m=8.0)
    looked_at = draw_views(index, index_info(folder).aerial)
    assert looked_at.shape == (SAMPLE, 16, 64, 3)
    assert CALIBRATED < SAMPLE / 2
    model = open_embedder(index, folder, arithmetic=INT8)
    assert model.drift.windows == SAMPLE - CALIBRATED


def index_info(folder):
    return open_model(folder).info


def test_the_commands_take_runtime_and_precision(tmp_path, folder, capsys):
    source, out = region(tmp_path), tmp_path / "region.cvx"
    words = ["--model", str(folder), "--runtime", "openvino", "--precision", "int8", "--quiet"]
    assert main(["index", str(source), "--out", str(out), *words]) == 0
    (drift,) = Index.open(out).manifest.drifts
    assert drift.arithmetic == "int8 by openvino"
    assert main(["index", str(source), "--out", str(tmp_path / "b.cvx"), "--precision", "4"]) != 0
    assert "Known: bfloat16, float32, int8" in capsys.readouterr().err


def test_a_program_chooses_by_keywords(tmp_path, folder):
    source = region(tmp_path)
    values = {"runtime": "openvino", "precision": "float32", "threads": 1}
    index = crossview.build_index(source, tmp_path / "a.cvx", folder, **values)
    assert index.manifest.drifts[0].arithmetic == "float32 by openvino"
    assert index.manifest.drifts[0].least_cosine > 0.99999
    assert Model.open(folder, runtime="openvino").arithmetic == Arithmetic("openvino")
    other = crossview.build_index(source, tmp_path / "b.cvx", Model.open(folder), threads=1)
    assert np.allclose(vectors_of(index), vectors_of(other), atol=1e-5)
