"""``crossview gather`` from a real Panoramax: killed on its way, and no picture fetched twice."""

import csv
import math
from collections import Counter

import pytest
from tests.services.cage import list_strangers
from tests.services.gate import Gate
from tests.services.programs import wait_until
from tests.services.servers import LICENCE

PICTURES = r"^/api/pictures/.*\.jpg"
KILLED_AFTER = 20


@pytest.fixture(scope="module")
def gate(panoramax):
    """Before the server: what is asked of it is counted."""
    gate = Gate(panoramax.port)
    yield gate
    gate.close()


@pytest.fixture(scope="module")
def there(town):
    """The pictures of the western third of the town."""
    return [shown for shown in town.shown if shown.lon < find_third(town)]


def find_third(town):
    west, _, east, _ = town.bounds
    return round(west + (east - west) / 3.0, 6)


@pytest.fixture(scope="module")
def gathered(crossview, gate, town):
    """A gathering that met a busy server, was killed after some pictures, and went on."""
    out = crossview.folder / "gathered"
    west, south, _, north = town.bounds
    box = ",".join(f"{value:.6f}" for value in (west, south, find_third(town), north))
    words = ("gather", "--street", f"panoramax:{gate.url}", f"--bbox={box}", "--out", out)
    gate.refuse_next(r"^/api/search", 503, Retry_After="1")
    gate.refuse_next(PICTURES, 429, Retry_After="1")
    gate.hold_after(PICTURES, KILLED_AFTER)
    killed = crossview.start("gather", *words)
    killed.wait_until(gate.holds.is_set, f"asks for no {KILLED_AFTER} pictures")
    # What was sent lies on the disk: only what is held, and never sent, is asked for again.
    wait_until(lambda: len(list_pictures(out)) == len(gate.find(PICTURES)), "pictures are not kept")
    killed.kill()
    gate.release(drop=True)
    assert KILLED_AFTER <= len(list_pictures(out)) < KILLED_AFTER + 10
    assert not (out / "photos.csv").exists()
    crossview.run(*words)
    return out


def list_pictures(folder):
    return sorted((folder / "photos").glob("*.jpg"))


@pytest.fixture(scope="module")
def rows(gathered):
    with (gathered / "photos.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def seen(rows, there):
    """Each row with the picture of the town that stood there."""
    return [(row, min(there, key=lambda shown: measure_m(row, shown))) for row in rows]


def measure_m(row, shown):
    north, east = float(row["lat"]) - shown.lat, float(row["lon"]) - shown.lon
    return 111_320.0 * math.hypot(north, east * math.cos(math.radians(shown.lat)))


def test_every_picture_is_there_but_those_whose_place_is_not_known(rows, there):
    good = [shown for shown in there if shown.sigma_m < 15.0]
    assert 40 < len(good) < len(there)
    assert len(rows) == len(good)


def test_every_place_is_true_to_five_centimetres(seen):
    assert len({shown.name for _, shown in seen}) == len(seen)
    assert max(measure_m(row, shown) for row, shown in seen) < 0.05


def test_no_picture_is_fetched_twice(gate, gathered, rows):
    asked = Counter(request.target for request in gate.find(PICTURES))
    assert set(asked.values()) == {1}
    assert len(asked) == len(rows) == len(list_pictures(gathered))


def test_the_server_is_asked_politely(gate, gathered):
    assert [r.status for r in gate.requests if r.status >= 400] == [503, 429]
    assert all(r.agent.startswith("crossview/") for r in gate.requests)


def test_headings_that_the_server_made_up_are_not_believed(seen):
    for row, shown in seen:
        if shown.says:
            assert float(row["heading_deg"]) == pytest.approx(shown.said_heading_deg, abs=0.01)
        else:
            assert row["heading_deg"] == ""
            assert "guessed" in row["notes"]


def test_lens_time_and_accuracy_are_those_of_the_files(seen):
    for row, shown in seen:
        assert float(row["fov_deg"]) == pytest.approx(shown.fov_deg, abs=2.0)
        assert float(row["position_sigma_m"]) == pytest.approx(shown.sigma_m)
        assert row["captured"] == shown.captured.isoformat()


def test_every_picture_has_its_author_and_its_licence(gathered, rows):
    told = (gathered / "photos" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for row in rows:
        assert (row["licence"], row["licence_url"]) == LICENCE
        assert row["attribution"]
        assert (gathered / row["file"]).is_file()
        assert row["page_url"] in told
    assert LICENCE[1] in told


def test_nothing_was_asked_of_another_machine(crossview, gathered, outside):
    asked = (crossview.asked / "asked.txt").read_text()
    assert "socket.connect 127.0.0.1" in asked, "the hook hears nothing"
    assert list(list_strangers(crossview.asked)) == []
    assert outside.requests == []
