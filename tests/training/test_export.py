import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch
from tests.training.tiny import PAGE, SMALL, request, trained

from crossview.catalogue import make_config, method_page
from crossview.errors import BadModel, InUse
from crossview.locks import lock
from crossview.model import Model, resolve_model
from crossview.pairs.page_ref import PageRef
from crossview.training import export as export_module
from crossview.training.export import export, fov_seen_deg, read_origin, reopen
from crossview.training.run_folder import RunFolder
from crossview.training.train_state import save_weights

SHARED = {
    "backbone": "test_convnext",
    "weights": "none",
    "aerial_px": 64,
    "ground_px": (32, 128),
}


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory):
    """A run of one shared encoder, not trained."""
    page = method_page("sample4geo").load()
    config = make_config(page, SHARED)
    torch.manual_seed(0)
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    facts = {"training_data": "noise", "synthetic": True, "attributions": ["(c) N"], "caution": "C"}
    folder.begin({"method": "sample4geo"}, facts)
    save_weights(page.build(config).state_dict(), folder.weights)
    return folder, page, config


@pytest.fixture(scope="module")
def shared_model(shared_run, tmp_path_factory):
    folder, page, config = shared_run
    return export(folder, page, config, tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A run of the documents' page, not trained, and its model beside it."""
    page = PageRef.of_file(PAGE).load()
    config = make_config(page, SMALL)
    folder = RunFolder(tmp_path_factory.mktemp("mine") / "run")
    folder.begin({"method": "./mine.py"}, {})
    trained = page.build(config)
    save_weights(trained.state_dict(), folder.weights)
    model = folder.path.with_name("model")
    model.mkdir()
    (model / "model.onnx").write_bytes(b"of an earlier export")
    export(folder, page, config, model)
    return folder, page, config, trained


def noise(height, width, count):
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_a_shared_encoder_is_one_file_that_takes_both_sizes(shared_model):
    embedder = Model(shared_model.folder, threads=1)
    assert [p.name for p in sorted(shared_model.folder.glob("*.onnx"))] == ["model.onnx"]
    assert embedder.ground(noise(32, 128, 1)).shape == (1, 64)
    assert embedder.aerial(noise(64, 64, 5)).shape == (5, 64)


def test_narrow_ground_views_of_any_width_are_embedded(shared_model):
    vectors = Model(shared_model.folder, threads=1).ground(noise(32, 40, 3))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_model_json_says_what_the_run_knew(shared_model):
    info = Model(shared_model.folder, threads=1).info
    assert (info.training_data, info.synthetic, info.dim) == ("noise", True, 64)
    assert (info.attributions, info.caution, info.licence) == (("(c) N",), "C", "not recorded")
    assert info.headings_seen == "aligned"


def test_pixels_go_in_as_they_are(shared_run, shared_model):
    """uint8 NHWC into ONNX equals the normalised NCHW float into the original."""
    folder, page, config = shared_run
    from crossview.pairs.batch import normalise
    from crossview.training.train_state import load_weights

    model = page.build(config).eval()
    load_weights(model, folder.weights)
    images = noise(64, 64, 3)
    spec = page.views(config).aerial
    with torch.no_grad():
        expected = model.aerial(normalise(images, spec, torch.device("cpu"))).numpy()
    ours = Model(shared_model.folder, threads=1).aerial(images)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_half_stores_half_the_bytes_and_computes_in_float32(shared_run, shared_model, tmp_path):
    folder, page, config = shared_run
    half = export(folder, page, config, tmp_path / "half", half=True)
    assert half.bytes < 0.6 * shared_model.bytes
    images = noise(64, 64, 4)
    vectors = [Model(done.folder, threads=1).aerial(images) for done in (half, shared_model)]
    assert vectors[0].dtype == np.float32
    assert (vectors[0] * vectors[1]).sum(axis=1).min() > 0.999


def test_no_path_of_this_machine_travels_in_the_file(shared_model):
    data = (shared_model.folder / "model.onnx").read_bytes()
    assert str(PAGE.parents[2]).encode() not in data
    assert not any(node.metadata_props for node in onnx.load_from_string(data).graph.node)


def test_two_branches_are_two_files_and_stale_ones_go(mine):
    names = [p.name for p in sorted(mine[0].path.with_name("model").iterdir())]
    assert names == ["model.aerial.onnx", "model.ground.onnx", "model.json", "training.json"]


@pytest.mark.parametrize("half", [False, True])
def test_an_exported_network_is_opened_to_be_trained_again(mine, tmp_path, half):
    """Every tensor comes back; what no graph holds, such as the scale of the loss, too."""
    run, page, config, trained = mine
    model = run.path.with_name("model")
    if half:
        model = export(run, page, config, tmp_path / "model", half=True).folder
    again = reopen(model, page, config, page.views(config))
    for name, value in trained.state_dict().items():
        expected = value.half().float() if half and value.is_floating_point() else value
        torch.testing.assert_close(again.state_dict()[name], expected, rtol=0, atol=1e-3)


def test_other_settings_and_networks_of_others_cannot_be_trained(mine, tmp_path):
    run, page, config, _ = mine
    wider = make_config(page, {**SMALL, "width": 8})
    model = shutil.copytree(run.path.with_name("model"), tmp_path / "model")
    with pytest.raises(BadModel, match=r"cannot be trained further: .* is \[4"):
        reopen(model, page, wider, page.views(wider))
    (model / "training.json").write_text('{"method": "compass", "config": 7}')
    with pytest.raises(BadModel, match=r"training.json cannot be read"):
        reopen(model, page, config, page.views(config))
    (model / "training.json").unlink()
    with pytest.raises(BadModel, match=r"it has no training.json"):
        reopen(model, page, config, page.views(config))


def test_the_packaged_model_can_be_trained_again():
    folder = resolve_model("town")
    origin = read_origin(folder)
    page = method_page(origin.method).load()
    config = make_config(page, origin.config)
    network = reopen(folder, page, config, page.views(config))
    assert sum(p.numel() for p in network.parameters()) == 3_097_793


def test_a_network_that_comes_out_different_is_refused(
    shared_run, shared_model, tmp_path, monkeypatch
):
    folder, page, config = shared_run
    right = export_module._session
    graph = (shared_model.folder / "model.onnx").read_bytes()  # as it was traced before
    monkeypatch.setattr(export_module, "_graph", lambda *_, **__: graph)

    def wrong(graph):
        run = right(graph)
        return lambda images: run(images) + 2e-4

    monkeypatch.setattr(export_module, "_session", wrong)
    with pytest.raises(BadModel, match="differs from the original by 0.0002"):
        export(folder, page, config, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_run_without_weights_is_refused(tmp_path):
    page = PageRef.of_file(PAGE).load()
    folder = RunFolder(tmp_path / "run")
    folder.begin({"method": "./mine.py"}, {})
    with pytest.raises(BadModel, match="model.safetensors"):
        export(folder, page, make_config(page, SMALL), tmp_path / "model")


def test_a_model_folder_that_another_process_writes_is_refused(shared_run, tmp_path):
    with lock(tmp_path / "model", "crossview export"):
        other = ThreadPoolExecutor(1).submit(export, *shared_run, tmp_path / "model")
        with pytest.raises(InUse, match="crossview export, process"):
            other.result()


@pytest.mark.parametrize(
    ("shown", "meant", "seen"),
    [
        ([(65.0, 65.0)], (45.0, 360.0), (65.0, 65.0)),  # photos of one lens
        ([(65.0, 90.0), (50.0, 70.0)], (45.0, 360.0), (50.0, 90.0)),
        ([(46.2, 171.0), (80.0, 360.0)], (45.0, 360.0), (45.0, 360.0)),  # drawn, nearly from 45
        ([(360.0, 360.0)], (360.0, 360.0), (360.0, 360.0)),
        ([(60.0, 360.0)], (360.0, 360.0), (60.0, 360.0)),  # photos beside panoramas
        ([], (45.0, 360.0), (45.0, 360.0)),  # a log from before it told
    ],
)
def test_the_fields_of_view_seen_are_those_that_training_showed(tmp_path, shown, meant, seen):
    folder = RunFolder(tmp_path)
    for step, ends in enumerate(shown, 1):
        folder.append({"step": step, "loss": 1.0, "fov_deg": list(ends)})
    folder.append({"step": len(shown), "validation": {}})
    assert fov_seen_deg(folder, meant) == seen


def test_a_training_notes_what_it_shows(tmp_path):
    session, reports = trained(request(tmp_path), stop_after=2)
    assert reports[0].fov_deg == (360.0, 360.0)
    assert [entry["fov_deg"] for entry in session.folder.entries()[0]] == [[360.0, 360.0]] * 2
