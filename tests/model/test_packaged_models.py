"""Which packaged model answers for which imagery, and what every output then says of it."""

import io
import json
import shutil
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image
from scripts.earth_facts import describe_earth
from tests.index.regions import indexed, meadow, region
from tests.toy_model import CAUTION, toy_model

import crossview
from crossview import cli
from crossview.errors import ModelMismatch, SyntheticModel, UnknownName, UsageError
from crossview.index.store import Index
from crossview.localization.locate import _open_cached
from crossview.model import (
    ModelInfo,
    compute_fingerprint,
    encode_info,
    list_packaged_models,
    open_model,
    read_info,
)
from crossview.outputs.formats import FORMATS
from crossview.worlds.ortho_sets import list_sets

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 25_000_000  # of a model in the wheel
WARNING = f"made with a model {CAUTION}"


@pytest.fixture(autouse=True)
def _no_models_of_other_tests():
    _open_cached.cache_clear()
    yield
    _open_cached.cache_clear()


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run crossview in an empty folder; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        code = cli.main(list(map(str, arguments)))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def made_by(path):
    return Index.open(path).manifest.model.name_or_path


@pytest.mark.usefixtures("packaged_models")
def test_imagery_of_earth_gets_earth_and_a_town_gets_town_without_being_told(tmp_path, run):
    region(tmp_path)
    region(tmp_path, "town.tif", synthetic=True)
    assert run("index", "aerial.tif", "--out", "earth.cvx")[0] == 0
    assert run("index", "town.tif", "--out", "town.cvx")[0] == 0
    assert (made_by("earth.cvx"), made_by("town.cvx")) == ("earth", "town")
    assert run("index", "town.tif", "aerial.tif", "--out", "both.cvx")[0] == 0
    assert made_by("both.cvx") == "earth"
    crossview.build_index("aerial.tif", "python.cvx")
    assert made_by("python.cvx") == "earth"


@pytest.mark.usefixtures("packaged_models")
def test_a_model_that_is_named_wins_and_town_is_still_refused_for_earth(tmp_path, run):
    region(tmp_path)
    mine = toy_model(tmp_path / "mine")
    assert run("index", "aerial.tif", "--model", "mine", "--out", "mine.cvx")[0] == 0
    assert made_by("mine.cvx") == str(mine.resolve())
    code, _, told = run("index", "aerial.tif", "--model", "town", "--out", "town.cvx")
    assert code != 0
    assert "--model earth" in told
    with pytest.raises(SyntheticModel):
        crossview.build_index("aerial.tif", "town.cvx", "town")
    demo = run("index", "aerial.tif", "--model", "town", "--demo-only", "--out", "demo.cvx")
    assert (demo[0], made_by("demo.cvx")) == (0, "town")


def test_a_package_without_a_model_of_earth_asks_for_one_as_before(packaged_models, tmp_path):
    shutil.rmtree(packaged_models / "earth")
    imagery = region(tmp_path)
    with pytest.raises(UsageError, match="Say which model: --model FOLDER"):
        crossview.build_index(imagery, tmp_path / "region.cvx")
    with pytest.raises(UnknownName):
        open_model("earth")
    assert list_packaged_models() == ("town",)


def test_an_index_names_its_model_and_refuses_another_of_that_name(packaged_models, tmp_path):
    index = crossview.build_index(region(tmp_path), tmp_path / "region.cvx")
    facts = index.manifest.model
    earth = packaged_models / "earth"
    assert (facts.name_or_path, facts.fingerprint) == ("earth", compute_fingerprint(earth))
    photo = meadow(160, 320)
    assert crossview.locate(index, photo).places
    values = json.loads((earth / "model.json").read_text(encoding="utf-8"))
    (earth / "model.json").write_text(json.dumps(values | {"notes": "trained again"}))
    _open_cached.cache_clear()
    with pytest.raises(ModelMismatch):
        crossview.locate(index, photo)


@pytest.mark.usefixtures("packaged_models")
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_output_says_what_the_model_is(tmp_path, run, name):
    region(tmp_path)
    Image.fromarray(meadow(160, 320)).save(tmp_path / "photo.png")
    crossview.build_index("aerial.tif", "region.cvx", stride_m=40.0)
    ending = FORMATS[name].endings[0]
    code, _, told = run(
        "locate", "photo.png", "--index", "region.cvx", "--out", f"a{ending}", "--map", "map.html"
    )
    assert (code, told.count(CAUTION)) == (0, 1)  # once on the screen
    content = (tmp_path / f"a{ending}").read_bytes()
    if name == "kmz":
        content = zipfile.ZipFile(io.BytesIO(content)).read("doc.kml")
    assert WARNING in content.decode()
    assert f"Made with a model {CAUTION}." in (tmp_path / "map.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("packaged_models")
def test_a_region_of_the_service_tells_its_model(tmp_path):
    pytest.importorskip("fastapi", reason="needs the package fastapi")
    from starlette.testclient import TestClient

    from crossview.service.regions import ModelPool, Regions
    from crossview.service.server import create_app

    crossview.build_index(region(tmp_path), tmp_path / "field.cvx")
    crossview.build_index(region(tmp_path, "b.tif", synthetic=True), tmp_path / "village.cvx")
    regions = Regions([tmp_path / "field.cvx", tmp_path / "village.cvx"], ModelPool())
    with TestClient(create_app(regions)) as client:
        field, village = client.get("/v1/regions").json()["regions"]
    assert (field["model"], village["model"]) == ("earth", "town")
    assert field["model_trained_on"] == "orthophotos of the tests"
    assert field["model_licence"] == "CC0"
    assert field["model_attributions"] == ["(c) Survey of Nowhere, CC BY 4.0"]
    assert (field["warnings"], village["warnings"]) == ([WARNING], [])


def test_a_model_that_says_nothing_of_itself_writes_the_manifest_of_before(tmp_path):
    manifest = json.loads((indexed(tmp_path).path / "manifest.json").read_text(encoding="utf-8"))
    assert "model_caution" not in manifest


def test_facts_that_earlier_models_lack_leave_their_model_json_and_fingerprint_alone(tmp_path):
    plain = read_info(toy_model(tmp_path / "plain"))
    assert not {"attributions", "caution", "limits"} & set(plain.to_json())
    said = read_info(toy_model(tmp_path / "said", attributions=("A", "B"), caution="trained on C"))
    assert said.to_json()["attributions"] == ("A", "B")
    assert read_info(toy_model(tmp_path / "again", attributions=("A", "B"))).attributions == (
        "A", "B",
    )  # fmt: skip
    assert encode_info(said) != encode_info(plain)


def test_what_is_packaged_is_found_as_a_resource_and_fits_into_the_wheel():
    folder = files("crossview") / "packaged_models"
    names = sorted(model.name for model in folder.iterdir())
    assert tuple(names) == list_packaged_models()
    assert "town" in names
    for name in names:
        contents = [path for path in (folder / name).iterdir() if path.is_file()]
        assert sum(len(path.read_bytes()) for path in contents) < MOST_BYTES
        info = open_model(name).info
        assert info.name == name
        assert info.synthetic == (name == "town")


def test_what_a_model_of_earth_says_is_written_from_the_list_of_its_orthophotos(tmp_path):
    exported = read_info(toy_model(tmp_path, azimuth_bins=8, notes="weights stored as float16"))
    info = describe_earth(exported, without=["zurich"])
    owners = {one.name: one.attribution for one in list_sets()}
    assert set(info.attributions) >= {text for name, text in owners.items() if name != "zurich"}
    assert owners["zurich"] not in info.attributions
    assert not {"usgs_ucmerced", "helsinki"} & set(owners)  # those are for tests only
    assert ("Switzerland" in info.training_data, "Czechia" in info.training_data) == (False, True)
    assert (info.name, info.synthetic, info.coarsest_imagery_m) == ("earth", False, 0.85)
    assert (info.dim, info.notes, info.ground) == (exported.dim, exported.notes, exported.ground)
    assert any("Lite0" in text for text in info.attributions)
    assert not any("Lite0" in t for t in describe_earth(exported, trunk=False).attributions)
    assert ModelInfo.from_json(json.loads(encode_info(info))) == info


@pytest.mark.skipif("earth" not in list_packaged_models(), reason="earth is not packaged")
def test_the_model_of_earth_says_what_it_is_whose_pictures_it_saw_and_what_it_cannot_do():
    info = open_model("earth").info
    assert info.azimuth_bins > 1  # a heading can be used
    assert info.caution.startswith("trained on")
    assert "a lead, not evidence" in info.caution
    assert info.attributions
    assert info.limits
    told = " ".join((info.training_data, info.licence, *info.attributions))
    assert "UC Merced" not in told
    assert "Helsinki" not in told
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8").split()
    assert [text for text in info.attributions if text not in " ".join(notice)] == []
