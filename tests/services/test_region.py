"""``crossview region`` from real servers: killed twice, gone on with, and whole at the end.

Its model is a small network that has learned nothing, and adapting is token-sized
(:mod:`tests.services.shortened`): what is shown is that every step is made of what the servers
give, once. What it is worth is measured elsewhere.
"""

# ruff: noqa: F811 - a fixture of another file
import csv
import json
from collections import Counter

import pytest
from tests.services.cage import list_strangers
from tests.services.gate import Gate
from tests.services.programs import wait_until
from tests.services.servers import LICENCE
from tests.test_adaptation import base  # noqa: F401 - a fixture

from crossview.index.store import Index
from crossview.model import open_model

PICTURES, TILES = r"^/api/pictures/.*\.jpg", r"^/cog/tiles/.*\.png"
KILLED_AFTER = 40
WHOSE = "Town of the tests, 2026"


@pytest.fixture(scope="module")
def street(panoramax):
    """Before the server of street photos: what is asked of it is counted."""
    gate = Gate(panoramax.port)
    yield gate
    gate.close()


@pytest.fixture(scope="module")
def above(titiler):
    """Before the server of the orthophoto."""
    gate = Gate(titiler.port)
    yield gate
    gate.close()


@pytest.fixture(scope="module")
def made(crossview, street, above, titiler, town, base):
    """A region whose command was killed while it gathered, and while it adapted."""
    out = crossview.folder / "my-region"
    words = (
        "region", "--imagery", f"{titiler.name_tiles(town.orthophoto, above.url)}#zooms=0-19",
        "--bbox", ",".join(f"{value:.6f}" for value in town.bounds), "--accept-licence",
        "--attribution", WHOSE, "--street", f"panoramax:{street.url}", "--out", out,
        "--model", base, "--demo-only", "--minutes", "5", "--stride", "40", "--workers", "1",
        "--threads", "1", "--yes",
    )  # fmt: skip
    street.hold_after(PICTURES, KILLED_AFTER)
    gathering = crossview.start("region-gathering", *words, short=True)
    gathering.wait_until(street.holds.is_set, f"asks for no {KILLED_AFTER} pictures")
    wait_until(lambda: len(list_pictures(out)) == len(street.find(PICTURES)), "nothing is kept")
    gathering.kill()
    street.release(drop=True)
    assert not (out / "region.cvx").exists()

    adapting = crossview.start("region-adapting", *words, short=True)
    adapting.wait_until(lambda: any(out.glob("model.adapting/worlds/*/*")), "draws no world")
    adapting.kill()
    assert not (out / "region.cvx").exists()
    assert not (out / "model").exists()

    crossview.run(*words, short=True)
    return out


def list_pictures(folder):
    return list(folder.glob("street/gathered-*/photos/*.jpg"))


def test_model_index_calibration_and_report_are_there(made):
    adapted, index = open_model(made / "model"), Index.open(made / "region.cvx")
    index.require_model(adapted.fingerprint)
    assert (made / "model" / "adaptation.json").is_file()
    assert index.manifest.calibration is not None
    report = json.loads((made / "report.json").read_text(encoding="utf-8"))
    assert report["says"]["works"]
    for name in ("report.html", "map.html", "ATTRIBUTION.md"):
        assert (made / name).stat().st_size > 500


def test_no_picture_and_no_tile_is_fetched_twice(made, street, above):
    pictures = Counter(request.target for request in street.find(PICTURES))
    tiles = Counter(request.target for request in above.find(TILES))
    assert set(pictures.values()) == set(tiles.values()) == {1}
    assert len(pictures) == len(list_pictures(made)) > KILLED_AFTER


def test_everybody_is_named(made):
    told = (made / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert WHOSE in told
    assert LICENCE[0] in told
    (gathered,) = made.glob("street/gathered-*/photos.csv")
    with gathered.open(encoding="utf-8", newline="") as stream:
        photos = list(csv.DictReader(stream))
    (pairs,) = made.glob("street/pairs/ATTRIBUTION.md")
    named = pairs.read_text(encoding="utf-8")
    used = {row["ground"].rpartition("/")[2] for row in read_pairs(made)}
    for photo in photos:
        if photo["file"].rpartition("/")[2] in used:
            assert photo["page_url"] in named or photo["page_url"] in told
    assert WHOSE in Index.open(made / "region.cvx").manifest.imagery.attribution


def read_pairs(folder):
    with (folder / "street/pairs/pairs.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_headings_that_the_server_made_up_are_not_believed(made, town):
    rows = read_pairs(made)
    assert len(rows) > 100
    for row in rows:
        shown = min(
            town.shown,
            key=lambda shown: (
                abs(shown.lat - float(row["ground_lat"]))
                + abs(shown.lon - float(row["ground_lon"]))
            ),
        )
        if shown.says:
            assert float(row["heading_deg"]) == pytest.approx(shown.said_heading_deg, abs=0.02)
        else:
            assert row["heading_deg"] == ""


def test_nothing_was_asked_of_another_machine(made, crossview, outside):
    assert list(list_strangers(crossview.asked)) == []
    assert outside.requests == []
