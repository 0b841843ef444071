"""What lies outside of the fields of view that a model saw: one tolerance, a tenth, everywhere.

A model is all in its own files: what would be read from elsewhere is refused before it is.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
from tests.localization.test_calibration_record import KIND
from tests.outputs.fakes import answer
from tests.toy_embedder import toy_info
from tests.toy_model import toy_model

from crossview import model as models
from crossview.cli import main
from crossview.errors import BadModel
from crossview.evaluation.conditions import Condition, list_untrained
from crossview.localization.hints import Hints
from crossview.localization.queries import prepare_query
from crossview.model import FIELDS, compute_fingerprint, open_model, require_whole
from crossview.views.decode import make_photo

INFO = toy_info(fov_seen_deg=(66.0, 200.0))
EDGES = [(59.9, False), (60.0, True), (66.0, True), (219.9, True), (220.1, False)]


@pytest.mark.parametrize(("fov", "covered"), EDGES)
def test_a_tenth_wider_or_narrower_than_what_was_seen_is_covered(fov, covered):
    assert INFO.covers(fov) is covered


@pytest.mark.parametrize(("fov", "covered"), EDGES)
def test_locate_evaluate_and_calibrations_ask_the_same(fov, covered):
    assert (list_untrained(INFO, Condition(fov_deg=fov)) == ()) is covered
    photo = make_photo(np.zeros((90, 160, 3), np.uint8))
    query = prepare_query(photo, Hints(fov_deg=fov), INFO)
    assert (not any("fields of view" in text for text in query.warnings)) is covered
    kind = replace(KIND, fov_deg=INFO.fov_seen_deg, assumed=False)
    assert kind.covers(answer(fov_deg=fov, fov_source="given")) is covered


onnx = pytest.importorskip("onnx", reason="needs the package onnx")


@pytest.fixture
def model(tmp_path):
    return toy_model(tmp_path / "model")


def spread(folder):
    """The same network with its tensors in a file beside it."""
    network = onnx.load(folder / "model.onnx")
    onnx.save(
        network, folder / "model.onnx", save_as_external_data=True, location="weights.bin",
        size_threshold=0, convert_attribute=True,
    )  # fmt: skip
    return folder


def external(location="../../secret"):
    tensor = onnx.TensorProto(name="far", dims=[1], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_tensors_in_other_files_are_refused_before_onnxruntime_reads(model, monkeypatch):
    import onnxruntime

    def never(*_, **__):
        raise AssertionError("onnxruntime was asked")

    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    spread(model)
    for opening in (open_model, compute_fingerprint):
        with pytest.raises(BadModel, match=r"in other files \(weights.bin\), which its finger"):
            opening(model)


def test_every_verb_that_opens_a_model_refuses_them(model, tmp_path, capsys):
    spread(model)
    town = tmp_path / "town"
    line = ["world", "--out", str(town), "--side-m", "160", "--panoramas", "1", "--photos", "0"]
    assert main([*line, "--quiet"]) == 0
    index, whole = tmp_path / "a.cvx", toy_model(tmp_path / "whole")
    made = ["index", str(town / "aerial.tif"), "--out", str(index), "--quiet", "--model"]
    assert main([*made, str(whole)]) == 0
    photo = str(next((town / "ground").iterdir()))
    there = ["--index", str(index), "--model", str(model)]
    for typed in (
        [
            "index",
            str(town / "aerial.tif"),
            "--out",
            str(tmp_path / "b.cvx"),
            "--model",
            str(model),
        ],
        ["locate", photo, *there],
        ["calibrate", str(index), "--truth", str(town / "places.csv"), "--model", str(model)],
        ["evaluate", str(model), "--data", f"pairs:{_pairs(tmp_path)}"],
        ["serve", *there, "--port", "0"],
        ["demo", "--model", str(model), "--out", str(tmp_path / "demo"), "--pictures", "1"],
    ):
        capsys.readouterr()
        assert main(typed) == 1, typed
        assert "leaves tensors in other files (weights.bin)" in capsys.readouterr().err, typed


def _pairs(folder):
    from tests.tiny_pairs import write_pairs

    return write_pairs(folder / "pairs", 12)


def test_wherever_a_tensor_may_stand_it_is_found():
    inner = onnx.GraphProto(name="inner", initializer=[external()])
    sparse = onnx.SparseTensorProto(values=external())
    indices = onnx.SparseTensorProto(indices=external())

    def node(**attribute):
        return onnx.NodeProto(attribute=[onnx.AttributeProto(name="a", **attribute)])

    def graph(**parts):
        return onnx.ModelProto(graph=onnx.GraphProto(**parts))

    function = onnx.FunctionProto(node=[node(t=external())])
    deep = inner
    for _ in range(20):
        deep = onnx.GraphProto(node=[node(g=deep)])
    places = [
        graph(initializer=[external()]),
        graph(sparse_initializer=[sparse]),
        graph(sparse_initializer=[indices]),
        graph(node=[node(t=external())]),
        graph(node=[node(tensors=[external()])]),
        graph(node=[node(g=inner)]),
        graph(node=[node(graphs=[inner])]),
        graph(node=[node(sparse_tensor=sparse)]),
        graph(node=[node(sparse_tensors=[sparse])]),
        graph(node=[node(g=deep)]),
        onnx.ModelProto(functions=[function]),
        onnx.ModelProto(
            functions=[onnx.FunctionProto(attribute_proto=node(t=external()).attribute)]
        ),
        onnx.ModelProto(training_info=[onnx.TrainingInfoProto(initialization=inner)]),
        onnx.ModelProto(training_info=[onnx.TrainingInfoProto(algorithm=inner)]),
    ]
    for place in places:
        with pytest.raises(BadModel, match=r"other files \(../../secret\)"):
            require_whole(place.SerializeToString(), "model.onnx")


def test_the_table_of_fields_is_that_of_onnx():
    """Every way from a model to a tensor is walked, also those of later versions of the format."""
    leads, messages, seen = {}, [onnx.ModelProto.DESCRIPTOR], set()
    while messages:
        message = messages.pop()
        if message.name in seen:
            continue
        seen.add(message.name)
        inner = {f.number: f.message_type for f in message.fields if f.message_type}
        leads[message.name] = {number: kind.name for number, kind in inner.items()}
        messages += inner.values()
    reach = {"TensorProto"}
    for _ in leads:
        reach |= {name for name, inner in leads.items() if reach & set(inner.values())}
    wanted = {
        name: {number: kind for number, kind in leads[name].items() if kind in reach}
        for name in reach
    }
    assert wanted == FIELDS
    tensor = {f.name: f.number for f in onnx.TensorProto.DESCRIPTOR.fields}
    assert (tensor["external_data"], tensor["data_location"]) == (
        models._EXTERNAL_DATA,
        models._DATA_LOCATION,
    )


@pytest.mark.parametrize("marked", ["location", "data", "strange", "in memory"])
def test_half_a_mark_is_enough(marked):
    tensor = external("*/_ORT_MEM_ADDR_/*" if marked == "in memory" else "x")
    if marked == "location":
        del tensor.external_data[:]
    elif marked == "data":
        tensor.ClearField("data_location")
    data = onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor])).SerializeToString()
    if marked == "strange":  # a number that is 1 once its upper half is dropped
        tensor = b"\x70" + b"\x81\x80\x80\x80\x10"
        graph = b"\x2a" + bytes([len(tensor)]) + tensor
        data = b"\x3a" + bytes([len(graph)]) + graph
        assert onnx.load_from_string(data).graph.initializer[0].data_location == 1
    with pytest.raises(BadModel, match="in other files"):
        require_whole(data, "model.onnx")


def test_whatever_onnx_takes_for_external_is_refused(model):
    """Bytes changed at random: onnx and the walk agree, or the walk is the stricter one."""
    network = onnx.load(model / "model.onnx")
    del network.graph.initializer[:]
    network.graph.initializer.add().CopyFrom(external("w"))
    network.graph.node[0].attribute.add(name="t", type="TENSOR").t.CopyFrom(external("w"))
    whole = network.SerializeToString()
    rng, seen = random.Random(5), 0
    for _ in range(5000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(2)] = bytes([rng.randrange(256)])
        try:
            network = onnx.load_from_string(bytes(data))
        except Exception:
            continue
        tensors = [*network.graph.initializer]
        tensors += [a.t for n in network.graph.node for a in n.attribute]
        if any(t.external_data or t.data_location for t in tensors):
            seen += 1
            with pytest.raises(BadModel):
                require_whole(bytes(data), "model.onnx")
    assert seen > 100


def test_a_network_with_its_tensors_inside_is_read(model):
    for _ in range(2):
        assert len(compute_fingerprint(model)) == 64
    assert open_model(model).info.name == "toy"
    require_whole(b"", "empty")  # nothing is left elsewhere; onnxruntime refuses it


@pytest.mark.parametrize(
    "data",
    [b"\x3a\xff", b"\x3b\x3c", b"\x00\x00", b"\x3a\x05abc", b"\x80" * 11, b"\x3d\x00", b"....ORTM"],
)
def test_what_is_no_protocol_buffer_is_refused(data):
    with pytest.raises(BadModel, match="not a network in ONNX format, or damaged"):
        require_whole(data, "model.onnx")


def test_a_file_of_nothing_but_fields_ends_soon(monkeypatch):
    monkeypatch.setattr(models, "_MOST_FIELDS", 1000)
    with pytest.raises(BadModel, match="more fields"):
        require_whole(b"\x08\x01" * 2000, "model.onnx")
    data = b""
    for _ in range(120):
        for field in (b"\x32", b"\x2a", b"\x0a"):  # attribute's graph, node's attribute, node
            data = field + _length(data) + data
    with pytest.raises(BadModel, match="deeper"):
        require_whole(b"\x3a" + _length(data) + data, "model.onnx")


def _length(data):
    size, out = len(data), b""
    while size > 127:
        out, size = out + bytes([size & 127 | 128]), size >> 7
    return out + bytes([size])


def test_a_network_of_other_inputs_or_outputs_is_said(model):
    network = onnx.load(model / "model.onnx")
    network.graph.input[0].name = "pixels"
    network.graph.node[0].input[0] = "pixels"
    onnx.save(network, model / "model.onnx")
    with pytest.raises(BadModel, match="network of another kind"):
        open_model(model)


@pytest.mark.parametrize("facts", [{"dim": 63}, {"azimuth_bins": 8, "dim": 56}])
def test_a_network_whose_vectors_are_not_as_its_facts_say_is_said(tmp_path, facts):
    import json

    import numpy as np

    folder = toy_model(tmp_path / "model")
    values = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(values | facts))
    with pytest.raises(BadModel, match="numbers"):
        open_model(folder).ground(np.zeros((2, 16, 64, 3), np.uint8))
