"""Models by name, against a hub on this machine: what is fetched, refused, kept, and said."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.hub_server import serving_hub, use_hub
from tests.index.regions import indexed, region
from tests.toy_model import toy_model

from crossview import hub
from crossview.cli import main
from crossview.errors import (
    AccessRefused,
    BadAnswer,
    BadModel,
    CannotWrite,
    InvalidValue,
    NotOnServer,
    ServiceBusy,
    ServiceDown,
)
from crossview.hub import HubName, find_pulled, list_pulled, parse_hub_name
from crossview.index.store import Index
from crossview.model import (
    MODEL_FILES,
    compute_fingerprint,
    open_index_model,
    open_model,
    pull_model,
    resolve_model,
)
from crossview.service.regions import ModelPool

ROOT = Path(__file__).resolve().parents[2]
CARD = b"---\nlicense: cc-by-4.0\ntags: [crossview]\n---\n\n# A toy\n"
NAME = "someone/toy"
TOY = HubName("someone", "toy")
PICKLE = b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00."


@pytest.fixture(scope="session")
def toy_files(tmp_path_factory):
    folder = toy_model(tmp_path_factory.mktemp("toy"))
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"README.md": CARD}


@pytest.fixture
def server(monkeypatch, tmp_path, toy_files):
    with serving_hub() as served:
        use_hub(monkeypatch, served, tmp_path / "cache")
        served.add(NAME, toy_files)
        yield served


def forbid_questions(monkeypatch, server):
    """From here on, whoever asks the hub gets nothing, and is found by ``server.asked``."""
    server.asked.clear()
    server.status = 500


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hub:a/b", HubName("a", "b", "main")),
        ("hub:A.b-c/d_e@v1.2", HubName("A.b-c", "d_e", "v1.2")),
        ("hub:a/b@refs/pr/1", HubName("a", "b", "refs/pr/1")),
        (Path("hub:a/b@x"), HubName("a", "b", "x")),
    ],
)
def test_a_name_is_owner_name_and_revision(text, name):
    assert parse_hub_name(text) == name
    assert parse_hub_name(str(name)) == name


@pytest.mark.parametrize(
    "text",
    ["hub:", "hub:a", "hub:/b", "hub:a/b/c", "hub:a/b@", "hub:../b", "hub:a/..", "hub:a/b@../c",
     "hub:a/b@-x", "hub:a--b/c", "hub:a/b c", "hub:a/b@/x", "hub:a/b\n"],
)  # fmt: skip
def test_what_is_no_name_is_said_before_anything_is_asked(text, server):
    with pytest.raises(InvalidValue, match="hub|revision"):
        resolve_model(text)
    assert server.asked == []


# Pulled


def test_a_pulled_model_is_the_one_that_was_published(server, toy_files, tmp_path):
    toy_model(tmp_path / "same")
    pulled = pull_model(TOY)
    assert pulled.record.commit == server.repositories[NAME].refs["main"]
    assert compute_fingerprint(pulled.folder) == compute_fingerprint(tmp_path / "same")
    assert {f.name: f.sha256 for f in pulled.record.files} == {
        name: hashlib.sha256(data).hexdigest() for name, data in toy_files.items()
    }
    assert pulled.record.licence == "cc-by-4.0"


def test_a_pulled_model_opens_without_a_question(server, monkeypatch):
    pull_model(TOY)
    forbid_questions(monkeypatch, server)
    model = open_model("hub:someone/toy")
    assert model.name == f"hub:someone/toy@{server.repositories[NAME].refs['main']}"
    assert open_model(model.name).fingerprint == model.fingerprint
    assert server.asked == []


def test_a_model_that_is_named_first_is_pulled_then(server):
    model = open_model("hub:someone/toy")
    assert sorted(server.downloads()) == sorted({"README.md", "model.json", "model.onnx"})
    assert model.info.licence == "cc-by-4.0, as its card on the hub says"


def test_nothing_is_asked_of_a_hub_unless_it_is_named(server, tmp_path):
    toy_model(tmp_path / "toy")
    open_model(tmp_path / "toy")
    open_model("town")
    assert main(["models"]) == 0
    assert server.asked == []


def test_a_licence_of_the_model_itself_stands_and_none_is_inferred(server, tmp_path, capsys):
    own = toy_model(tmp_path / "own", licence="CC0")
    files = {path.name: path.read_bytes() for path in own.iterdir()}
    server.add("a/own", files | {"README.md": CARD})
    server.add("a/none", {**server.repositories[NAME].commits.popitem()[1], "README.md": b"# Toy"})
    assert open_model("hub:a/own").info.licence == "CC0"
    assert open_model("hub:a/none").info.licence == hub.NOT_STATED
    assert main(["pull", "hub:a/own"]) == 0
    said = capsys.readouterr().err
    assert "Licence: CC0" in said
    assert "Its card states: cc-by-4.0" in said


def test_a_tag_and_a_commit_stay_what_they_are_when_the_branch_moves(server, toy_files):
    repository = server.repositories[NAME]
    first = repository.refs["main"]
    repository.refs["v1"] = first
    pull_model(TOY)
    second = repository.commit(toy_files | {"README.md": CARD + b"More.\n"})
    assert pull_model(HubName("someone", "toy", "v1")).record.commit == first
    assert find_pulled(TOY).record.commit == first  # not asked anew by a verb that uses it
    assert pull_model(TOY).record.commit == second
    assert find_pulled(TOY).record.commit == second
    assert find_pulled(HubName("someone", "toy", first)).record.commit == first


def test_an_index_remembers_the_commit_and_finds_its_model_without_a_network(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    region(tmp_path, "a.tif")
    index = ["index", "a.tif", "--model", "hub:someone/toy", "--out", "r.cvx", "--stride", "40"]
    assert main(index) == 0
    manifest = json.loads((tmp_path / "r.cvx" / "manifest.json").read_text())
    pinned = f"hub:someone/toy@{server.repositories[NAME].refs['main']}"
    assert manifest["model"]["name_or_path"] == pinned
    assert "licence: cc-by-4.0" in capsys.readouterr().err
    forbid_questions(monkeypatch, server)
    opened = Index.open(tmp_path / "r.cvx")
    model = open_index_model(opened.manifest.model.name_or_path, opened.path)
    opened.require_model(model.fingerprint)
    assert model.info.licence.startswith("cc-by-4.0")
    assert server.asked == []


def test_an_index_and_the_service_fetch_no_model_that_was_not_pulled(server, tmp_path):
    with pytest.raises(BadModel, match="crossview pull hub:someone/toy"):
        open_index_model("hub:someone/toy", tmp_path)
    indexed(tmp_path, stride_m=50.0)
    pool = ModelPool("hub:someone/toy")
    with pytest.raises(BadModel, match="was not pulled yet"):
        pool(Index.open(tmp_path / "region.cvx"))
    assert server.asked == []


def test_two_pulls_at_once_and_a_second_one_fetch_each_file_once(server, toy_files, tmp_path):
    server.pause_s = 0.02
    running = [start_pull(server, tmp_path) for _ in range(2)]
    ends = [one.communicate(timeout=60) for one in running]
    assert [one.returncode for one in running] == [0, 0], ends
    assert ends[0][0] == ends[1][0] == f"hub:{NAME}@{server.repositories[NAME].refs['main']}\n"
    assert sorted(server.downloads()) == sorted(toy_files)
    assert find_pulled(TOY) is not None
    pull_model(TOY)
    assert sorted(server.downloads()) == sorted(toy_files)


def start_pull(server, tmp_path, name="hub:someone/toy", **more):
    environment = os.environ | {
        "HF_ENDPOINT": server.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "cache" / "home"),
        "CROSSVIEW_CACHE": str(tmp_path / "cache" / "crossview"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "crossview", "pull", name], env=environment | more, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_pull_that_is_killed_goes_on(server, tmp_path, toy_files):
    large = bytes(2_000_000)
    server.add("a/large", toy_files | {"LICENSE": b"free", "model.onnx": toy_files["model.onnx"]})
    server.repositories["a/large"].commit(toy_files | {"LICENSE": large})
    server.pause_s = 0.05
    running = start_pull(server, tmp_path, "hub:a/large")
    deadline = time.monotonic() + 60
    while "LICENSE" not in server.downloads() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "LICENSE" in server.downloads()
    time.sleep(0.3)
    assert running.poll() is None  # it is killed in the middle
    running.kill()
    running.communicate()
    name = HubName("a", "large")
    assert find_pulled(name) is None
    server.pause_s = 0.0
    pull_model(name)
    assert (find_pulled(name).folder / "LICENSE").read_bytes() == large


# Refused


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "weights/a.ckpt", "x.pkl"])
def test_a_pickle_is_never_fetched(server, name):
    server.add("a/pickled", {name: PICKLE, "README.md": CARD, "config.json": b"{}"})
    with pytest.raises(BadModel, match=re.escape(name)) as refused:
        pull_model(HubName("a", "pickled"))
    assert "crossview import METHOD FILE" in str(refused.value)
    assert server.downloads() == []


def test_code_beside_a_model_stays_where_it_is(server, toy_files):
    more = {"modeling.py": b"import os", "model.pth": PICKLE, "run.sh": b"rm", "a/model.json": b"{",
            "../model.json": b"{}", "x.safetensors": b"", "LICENSE": b"free"}  # fmt: skip
    server.add("a/mixed", toy_files | more)
    pulled = pull_model(HubName("a", "mixed"))
    assert sorted(server.downloads()) == sorted([*toy_files, "LICENSE"])
    assert set(pulled.left) == set(more) - {"LICENSE"}


def test_weights_of_their_authors_are_fetched_and_their_import_is_said(server, capsys):
    weights = {"weights/last.safetensors": b"\x02\0\0\0\0\0\0\0{}", "config.yaml": b"a: 1\n"}
    server.add("fferflo/statewide-geoloc-nomassgis", weights | {"train.py": b"x"})
    assert main(["pull", "hub:fferflo/statewide-geoloc-nomassgis"]) == 0
    told = capsys.readouterr()
    assert sorted(server.downloads()) == ["config.yaml", "weights/last.safetensors"]
    assert Path(told.out.strip()).read_bytes() == weights["weights/last.safetensors"]
    assert "none stated by its authors; none is inferred" in told.err
    assert "has no card" in told.err
    with pytest.raises(BadModel, match="crossview import"):
        open_model("hub:fferflo/statewide-geoloc-nomassgis")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        ({"model.json": b"{}"}, "model.json cannot be read"),
        ({"model.onnx": b"\xff\xff\xff"}, "not a network"),
        ({"training.json": b"[1]"}, "training.json"),
        ({"SHA256SUMS": b"nonsense\n"}, "SHA256SUMS is damaged"),
        ({"SHA256SUMS": b"0" * 64 + b"  model.onnx\n"}, "SHA256SUMS"),
    ],
)
def test_a_model_folder_that_cannot_be_is_refused(server, toy_files, spoil, match):
    server.add("a/bad", toy_files | spoil)
    with pytest.raises(BadModel, match=match):
        pull_model(HubName("a", "bad"))
    assert find_pulled(HubName("a", "bad")) is None


def test_a_model_without_networks_or_with_nothing_at_all_is_refused(server, toy_files):
    server.add("a/facts", {n: d for n, d in toy_files.items() if n != "model.onnx"})
    server.add("a/empty", {"README.md": CARD})
    with pytest.raises(BadModel, match="No network"):
        pull_model(HubName("a", "facts"))
    with pytest.raises(BadModel, match="holds no model"):
        pull_model(HubName("a", "empty"))


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_file_whose_hash_differs_is_removed_and_refused(server, toy_files, name):
    other = bytearray(toy_files[name])
    other[len(other) // 2] ^= 1
    server.repositories[NAME].served[name] = bytes(other)
    for _ in range(2):  # what came is not taken from the cache the second time
        with pytest.raises(BadAnswer, match=f"{name} is not what the hub's listing states"):
            pull_model(TOY)
    server.repositories[NAME].served.clear()
    assert pull_model(TOY).record.files


def test_a_file_that_changes_after_it_was_pulled_is_found(server):
    pulled = pull_model(TOY)
    network = (pulled.folder / "model.onnx").resolve()
    data = bytearray(network.read_bytes())
    data[100] ^= 1
    network.write_bytes(data)
    with pytest.raises(BadModel, match="its content has changed"):
        open_model("hub:someone/toy")


def test_a_file_that_somebody_removed_is_pulled_again(server):
    pulled = pull_model(TOY)
    (pulled.folder / "model.onnx").resolve().unlink()
    assert find_pulled(TOY) is None
    assert list_pulled() == []
    open_model("hub:someone/toy")


# What the hub says


def test_a_missing_model_and_a_missing_revision(server):
    with pytest.raises(NotOnServer, match="no hub:someone/nothing on the hub"):
        pull_model(HubName("someone", "nothing"))
    with pytest.raises(NotOnServer, match="has no revision v9"):
        pull_model(HubName("someone", "toy", "v9"))


def test_a_private_model_needs_the_token_that_the_library_knows(server, monkeypatch):
    server.repositories[NAME].token = "hf_secret"
    with pytest.raises(AccessRefused, match="HF_TOKEN"):
        pull_model(TOY)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(AccessRefused) as refused:
        pull_model(TOY)
    assert "hf_wrong" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pulled = pull_model(TOY)
    assert "hf_secret" not in "".join(
        path.read_text() for path in Path(os.environ["CROSSVIEW_CACHE"]).rglob("*.json")
    )
    monkeypatch.delenv("HF_TOKEN")
    assert open_model("hub:someone/toy").folder == pulled.folder


def test_a_gated_model(server):
    server.repositories[NAME].gated = True
    with pytest.raises(AccessRefused, match="whom its owner admits"):
        pull_model(TOY)


def test_a_revoked_model_is_told_of_and_still_works(server):
    pinned = pull_model(TOY).record.pinned_name
    del server.repositories[NAME]
    with pytest.raises(NotOnServer) as gone:
        pull_model(TOY)
    assert "It is gone since" in str(gone.value)
    assert pinned in str(gone.value)
    assert open_model(pinned).name == pinned


@pytest.mark.parametrize(
    ("status", "kind"), [(429, ServiceBusy), (500, ServiceDown), (503, ServiceDown)]
)
def test_a_hub_with_faults_of_its_own(server, status, kind, monkeypatch):
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http.time, "sleep", lambda _: None)
    server.status = status
    with pytest.raises(kind):
        pull_model(TOY)


@pytest.mark.parametrize("nonsense", [b"[]", b"<html>", b'{"sha": 5}', b'{"sha": "../../x"}'])
def test_a_hub_that_answers_nonsense(server, nonsense):
    server.nonsense = nonsense
    with pytest.raises(BadAnswer, match="hub"):
        pull_model(TOY)


def test_no_network(server, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceDown, match="HF_HUB_OFFLINE"):
        pull_model(TOY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    pull_model(TOY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_model("hub:someone/toy").info.dim


def test_a_hub_that_is_not_there(server, monkeypatch, tmp_path):
    done = start_pull(server, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    said = done.communicate(timeout=60)[1]
    assert done.returncode == 1
    assert "cannot be reached" in said


def test_too_little_room_is_told_before(server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Room", (), {"free": 1000}))
    with pytest.raises(CannotWrite, match="Make room"):
        pull_model(TOY)
    assert server.downloads() == []


def test_a_file_beyond_all_sizes_is_not_fetched(server, monkeypatch):
    monkeypatch.setattr(hub, "MOST_TEXT_BYTES", 10)
    with pytest.raises(BadAnswer, match="at most 10"):
        pull_model(TOY)
    assert server.downloads() == []


def test_the_hub_learns_of_the_library_and_of_no_program(server):
    pull_model(TOY)
    assert [line for line in server.asked if "agent" in line or "telemetry" in line] == []
    assert all("agent/" not in agent for agent in server.agents)


# Published


def test_a_published_folder_is_pulled_as_it_was(server, tmp_path, capsys):
    own = toy_model(tmp_path / "own", licence="CC BY 4.0; of towns", training_data="ten towns")
    out = tmp_path / "folder"
    assert main(["publish", str(own), "--out", str(out)]) == 0
    assert f"hf upload OWNER/NAME {out} ." in capsys.readouterr().err
    server.add("me/mine", {path.name: path.read_bytes() for path in out.iterdir()})
    pulled = pull_model(HubName("me", "mine"))
    assert compute_fingerprint(pulled.folder) == compute_fingerprint(own)
    assert pulled.record.licence == "cc-by-4.0"
    card = (pulled.folder / "README.md").read_text()
    assert "ten towns" in card
    assert compute_fingerprint(own) in card
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    server.repositories["me/mine"].commit(
        {path.name: path.read_bytes() for path in out.iterdir()} | {"training.json": b"{}"}
    )
    with pytest.raises(BadModel, match="not of those who made it"):
        pull_model(HubName("me", "mine"))


def test_a_model_that_no_card_can_be_written_of_is_not_published(tmp_path, capsys):
    plain = toy_model(tmp_path / "plain", training_data="not recorded")
    out = tmp_path / "out"
    assert main(["publish", str(plain), "--out", str(out)]) == 2
    assert "--licence" in capsys.readouterr().err
    assert main(["publish", str(plain), "--out", str(out), "--licence", "mit"]) == 2
    assert "--card" in capsys.readouterr().err
    card = tmp_path / "mine.md"
    card.write_text("# Without a licence\n")
    assert main(["publish", str(plain), "--out", str(out), "--card", str(card)]) == 2
    assert not out.exists()
    card.write_bytes(CARD)
    assert main(["publish", str(plain), "--out", str(out), "--card", str(card)]) == 0
    assert (out / "README.md").read_bytes() == CARD


def test_publish_takes_no_folder_of_others(tmp_path, capsys):
    own = toy_model(tmp_path / "own", licence="MIT", training_data="towns")
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert main(["publish", str(own), "--out", str(out)]) == 2
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("words", "identifier"),
    [
        ("Apache-2.0, like crossview", "apache-2.0"),
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("cc by 4.0; pictures as they are", "cc-by-4.0"),
        ("MIT", "mit"),
        ("mitigated", "other"),
        ("as the data set", "other"),
    ],
)
def test_licences_in_words_have_the_identifiers_of_the_hub(words, identifier):
    assert hub.name_licence(words) == identifier


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: mit", "mit"),
        ("license: [mit, apache-2.0]", "mit and apache-2.0"),
        ("license: other\nlicense_name: Own\nlicense_link: LICENSE", "other (Own, LICENSE)"),
        ("license: {a: 1}", ""),
        ("license: 5", ""),
        ("tags: x", ""),
        ("a: [", ""),
        ("- x", ""),
        ("a: &a [*a]", ""),
        ("a: !!python/object/apply:os.system [exit]", ""),
    ],
)
def test_a_licence_is_what_the_card_states(tmp_path, front, licence):
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\nThe licence: GPL.\n")
    assert hub.read_card(tmp_path).licence == licence


# Listed


def test_models_lists_packaged_pulled_and_published_ones(server, capsys):
    pull_model(TOY)
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert "town" in {one["name"] for one in listed["packaged"]}
    (pulled,) = listed["pulled"]
    assert pulled["name"] == find_pulled(TOY).record.pinned_name
    assert pulled["licence"] == "cc-by-4.0, as its card states"
    published = {one["name"]: one for one in listed["published"]}
    assert "weights: none stated" in published["Sample4Geo"]["terms"]
    assert published["Sample4Geo"]["import"].startswith("crossview import sample4geo FILE")
    assert main(["models"]) == 0
    assert "none is" not in capsys.readouterr().out.split("Published")[0]


def test_the_table_names_methods_that_there_are_and_infers_no_licence():
    from crossview.catalogue import METHODS, list_published_weights

    rows = list_published_weights()
    assert len({one.name for one in rows}) == len(rows)
    for one in rows:
        assert not one.method or one.method in METHODS
        assert hub.NOT_STATED in one.terms or one.weights_licence
        assert not hub.is_hub_name(one.address) or parse_hub_name(one.address)


def test_a_damaged_record_is_said_and_pulled_anew(server):
    pull_model(TOY)
    path = next(Path(os.environ["CROSSVIEW_CACHE"]).rglob("*@main.json"))
    record = json.loads(path.read_text())
    for damaged in (
        {**record, "commit": "../../x"},
        {**record, "files": [{"name": "../a", "bytes": 1, "sha256": "0" * 64}]},
        {**record, "repository": "../x"},
        {**record, "format": 2},
        {},
    ):
        path.write_text(json.dumps(damaged))
        with pytest.raises(BadModel, match="crossview pull"):
            find_pulled(TOY)
    pull_model(TOY)
    assert find_pulled(TOY)


def test_the_files_of_a_model_folder_end_with_what_describes_it():
    assert MODEL_FILES[-1] == "model.json"
