"""``crossview index`` of one orthophoto by every kind of address, against the file itself."""

from collections import Counter

import numpy as np
import pytest
from tests.services.cage import list_strangers
from tests.services.gate import Gate
from tests.services.servers import LAYER

from crossview.geo.points import LatLon, measure_distance_m
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import cut_placed, place_windows
from crossview.index.store import Index
from crossview.model import open_model
from crossview.views.aerial import make_aerial_view

MODEL, STRIDE_M, SIDE_M = "town", 40.0, 240.0
KINDS = ("xyz", "wmts", "wms", "cog")
WHOSE = "Town of the tests, 2026"


@pytest.fixture(scope="module")
def gates(titiler, mapproxy, files):
    """Before each server: what is asked of it is counted."""
    gates = {
        "xyz": Gate(titiler.port), "wmts": Gate(mapproxy.port),
        "wms": Gate(mapproxy.port), "cog": Gate(files.port),
    }  # fmt: skip
    yield gates
    for gate in gates.values():
        gate.close()


@pytest.fixture(scope="module")
def box(town):
    """The middle of the town, 240 m a side: west, south, east, north."""
    west, south, east, north = town.bounds
    lat, lon = (south + north) / 2.0, (west + east) / 2.0
    half_lat = SIDE_M / 2.0 / 111_195.0
    half_lon = half_lat / np.cos(np.radians(lat))
    return ",".join(
        f"{v:.7f}" for v in (lon - half_lon, lat - half_lat, lon + half_lon, lat + half_lat)
    )


def name_source(kind, gate, town, titiler):
    """What a user writes."""
    return {
        "xyz": f"{titiler.name_tiles(town.orthophoto, through=gate.url)}#zooms=0-19",
        "wmts": f"{gate.url}/wmts/1.0.0/WMTSCapabilities.xml#{LAYER}",
        "wms": f"wms:{gate.url}/service#layer={LAYER}&format=image/png&finest=0.2",
        "cog": f"{gate.url}/{town.orthophoto.name}",
    }[kind]


@pytest.fixture(scope="module", params=KINDS)
def indexed(request, crossview, gates, titiler, town, box):
    """An index by address, made twice: kind, what was asked the first time, and the second."""
    kind, gate = request.param, gates[request.param]
    words = (
        "index", name_source(kind, gate, town, titiler), f"--bbox={box}", "--accept-licence",
        "--attribution", WHOSE, "--model", MODEL, "--demo-only", "--stride", f"{STRIDE_M:g}",
    )  # fmt: skip
    crossview.run(*words, "--out", f"{kind}.cvx")
    asked = len(gate.requests)
    crossview.run(*words, "--out", f"{kind}-again.cvx")
    return crossview.folder / f"{kind}.cvx", gate.requests[:asked], gate.requests[asked:]


def compare_windows(folder, town):
    """How alike each window of an index is to the same ground of the file: cosines [N]."""
    index, model = Index.open(folder), open_model(MODEL)
    vectors = np.concatenate([block for _, block in index.blocks()])
    footprint_m = index.manifest.footprint_m
    with open_sources([town.orthophoto]) as imagery:
        placed = place_windows(imagery, index.lat, index.lon, footprint_m)
        windows = [cut_placed(choices[0]) for choices in placed]
    for window, lat, lon in zip(windows, index.lat, index.lon, strict=True):
        assert measure_distance_m(LatLon(window.lat, window.lon), LatLon(lat, lon)) < 0.5
    views = np.stack([make_aerial_view(w.pixels, w.metres_per_px, model.info.aerial)
                      for w in windows])  # fmt: skip
    return vectors, model.aerial(views)


def test_windows_by_address_are_those_of_the_file(indexed, town):
    folder, _, _ = indexed
    fetched, local = compare_windows(folder, town)
    alike = fetched @ local.T
    assert len(fetched) >= 25
    assert np.median(np.diag(alike)) > 0.97
    assert np.diag(alike).min() > 0.9
    assert (alike.argmax(1) == np.arange(len(alike))).all(), "another window is more alike"


def test_nothing_is_asked_for_twice(indexed):
    _, first, second = indexed
    pictures = [r for r in first if "apabilities" not in r.target and r.method == "GET"]
    assert pictures
    assert set(Counter((r.target, r.range) for r in pictures).values()) == {1}
    assert second == [], "the cache has all of it"


def test_the_index_says_whose_imagery_it_is(indexed):
    folder, _, _ = indexed
    assert WHOSE in Index.open(folder).manifest.imagery.attribution


def test_a_licence_that_nobody_knows_is_asked_for(crossview, gates, titiler, town, box):
    gate = gates["xyz"]
    before = len(gate.requests)
    with pytest.raises(RuntimeError, match="--accept-licence"):
        crossview.run(
            "index", name_source("xyz", gate, town, titiler), f"--bbox={box}", "--model", MODEL,
            "--demo-only", "--out", "refused.cvx",
        )  # fmt: skip
    assert len(gate.requests) == before
    assert not (crossview.folder / "refused.cvx").exists()


def test_nothing_was_asked_of_another_machine(indexed, crossview, outside):
    assert list(list_strangers(crossview.asked)) == []
    assert outside.requests == []
