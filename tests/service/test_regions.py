"""Regions: several indexes, and the exchange of one that changes on disk."""

import shutil

import pytest
from tests.index.regions import TOY, indexed, region
from tests.service.conftest import jpeg, photos

from crossview.errors import BadIndex, UsageError
from crossview.service.regions import Regions


def test_an_index_that_changes_is_exchanged_and_a_damaged_one_is_not(tmp_path, served):
    place = tmp_path / "region.cvx"
    indexed(tmp_path, stride_m=40.0)
    regions = Regions([place], lambda _: TOY)
    client = served(regions=regions)
    before = client.get("/v1/regions/region").json()
    assert regions.reload() == []
    (tmp_path / "finer").mkdir()
    indexed(tmp_path / "finer", stride_m=20.0, paths=[region(tmp_path / "finer")])
    shutil.rmtree(place)
    shutil.move(tmp_path / "finer" / "region.cvx", place)
    assert regions.reload() == ["region"]
    after = client.get("/v1/regions/region").json()
    assert after["tiles"] > before["tiles"]
    assert after["version"] != before["version"]
    (place / "manifest.json").write_text("{damaged")
    assert regions.reload() == []
    assert "manifest" in regions.failures["region"]
    assert client.post("/v1/locate", files=photos(jpeg())).status_code == 200


def test_a_request_finishes_with_the_index_it_began_with(tmp_path):
    indexed(tmp_path, stride_m=40.0)
    index = Regions([tmp_path / "region.cvx"], lambda _: TOY).get(None).index
    before = [block.copy() for _, block in index.blocks()]
    shutil.rmtree(tmp_path / "region.cvx")
    after = [block for _, block in index.blocks()]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_a_region_with_a_filter_gives_the_same_places(tmp_path, served, folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    for first in (False, True):
        client = served(regions=Regions([folder], lambda _: TOY, filter_first=first))
        response = client.post("/v1/locate", files=photos(jpeg()))
        assert response.status_code == 200
        found.append([place["window"] for place in response.json()["answers"][0]["places"]])
    assert found[0] == found[1]
    assert len(list(tmp_path.rglob("codes.npy"))) == 1


def test_two_regions_are_chosen_by_name(tmp_path, served, folder):
    indexed(tmp_path, stride_m=40.0, name="other town.cvx", paths=[region(tmp_path, seed=5)])
    client = served(regions=Regions([folder, tmp_path / "other town.cvx"], lambda _: TOY))
    assert [r["name"] for r in client.get("/v1/regions").json()["regions"]] == [
        "region",
        "other-town",
    ]
    response = client.post("/v1/locate?region=other-town", files=photos(jpeg()))
    assert response.json()["region"] == "other-town"


def test_names_must_differ_and_indexes_exist(tmp_path, folder):
    with pytest.raises(UsageError, match="Two indexes"):
        Regions([folder, folder], lambda _: TOY)
    with pytest.raises(BadIndex):
        Regions([tmp_path / "none.cvx"], lambda _: TOY)
