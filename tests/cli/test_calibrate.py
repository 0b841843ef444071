import json
import threading
import time

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import added, indexed, region
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.calibration import calibrate as grouping
from crossview.cli import main
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import Tiling, cut_windows
from crossview.index.store import Index
from crossview.localization import locate as finding
from crossview.localization.calibration_record import Calibration
from crossview.locks import lock
from crossview.views.aerial import make_aerial_view

TOY = ToyEmbedder(toy_info(azimuth_bins=8))
STRIDE_M = 10.0
PHOTOS = 30  # enough for a coverage of 80 %


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A region, and thirty panoramas that look like windows of it, some under noise."""
    folder = tmp_path_factory.mktemp("calibrate")
    source = region(folder)
    rng = np.random.default_rng(0)
    with open_sources([source]) as imagery:
        windows = list(cut_windows(imagery, Tiling(footprint_m=40.0, stride_m=STRIDE_M)))
    rows = ["file,lat,lon"]
    for number, pick in enumerate(rng.choice(len(windows), PHOTOS, replace=False)):
        window = windows[pick]
        view = make_aerial_view(window.pixels, window.metres_per_px, TOY.info.aerial).astype(float)
        view += rng.normal(0, 60 * (number % 3), view.shape)
        panorama = np.pad(np.clip(view, 0, 255), ((8, 8), (0, 0), (0, 0))).astype(np.uint8)
        Image.fromarray(panorama).save(folder / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,{window.lat},{window.lon}")
    (folder / "places.csv").write_text("\n".join(rows), encoding="utf-8")
    (folder / "far").mkdir()
    for number in range(3):
        noise = rng.integers(0, 255, (32, 64, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / "far" / f"{number}.png")
    return folder


@pytest.fixture
def index(folder, tmp_path):
    return indexed(tmp_path, embedder=TOY, paths=[folder / "aerial.tif"], stride_m=STRIDE_M)


@pytest.fixture(autouse=True)
def _toy_model(monkeypatch):
    monkeypatch.setattr(finding, "get_index_model", lambda index, **_: TOY)


def run(index, folder, *arguments):
    truth = str(folder / "places.csv")
    given = ["calibrate", str(index.path), "--truth", truth, "--coverage", "80", *arguments]
    return main([str(word) for word in given])


def test_an_index_is_calibrated_and_locate_uses_it(index, folder, capsys):
    assert run(index, folder, "--elsewhere", folder / "far") == 0
    printed = capsys.readouterr()
    assert "panoramas: 30 known photos at" in printed.out
    for message in ("by chance", "expected calibration error", "Brier", "area for 80.0 %",
                 "not in this region", "of 3 photos from elsewhere"):  # fmt: skip
        assert message in printed.out
    known = Calibration.from_json(Index.open(index.path).manifest.calibration)
    assert (known.kinds[0].n, known.share, known.false_reject) == (PHOTOS, 0.05, 0.05)
    assert main(["locate", str(folder / "00.png"), "--index", str(index.path),
                 "--format", "jsonl"]) == 0  # fmt: skip
    record = json.loads(capsys.readouterr().out)
    assert record["calibrated"]["areas"][0]["coverage"] == 0.8
    assert record["calibrated"]["n"] == PHOTOS
    assert 0.0 < record["places"][0]["probability"] <= 1.0
    assert "Calibrated on 30 panoramas of this region" in record["confidence"]


def test_sigmas_are_printed_and_every_place_gets_its_own(index, folder, capsys):
    rows = (folder / "places.csv").read_text().splitlines()
    headed = [f"{row},{'heading_deg' if n == 0 else 0.0}" for n, row in enumerate(rows)]
    (folder / "headed.csv").write_text("\n".join(headed), encoding="utf-8")
    assert run(index, folder, "--truth", folder / "headed.csv") == 0
    assert "position where the first place is right (n = " in capsys.readouterr().out
    kind = Calibration.from_json(Index.open(index.path).manifest.calibration).kinds[0]
    assert kind.spread is not None
    assert kind.measured["poses"]["position"]["n"] >= 20
    assert kind.measured["poses"]["heading"]["n"] >= 20  # without sigmas: turns 45 degrees apart
    answer = finding.locate(Index.open(index.path), folder / "00.png", embedder=TOY)
    for place in answer.places:
        expected = (
            kind.spread.centre_m if place.peak_m is None else kind.spread.position * place.peak_m
        )
        assert place.position_sigma_m == expected > 0.0
        assert place.heading_sigma_deg is None


def other_region(tmp_path, name, **options):
    (tmp_path / name).mkdir()
    sources = [region(tmp_path / name, seed=2)]
    return indexed(
        tmp_path / name, embedder=TOY, paths=sources, **{"stride_m": STRIDE_M, **options}
    )


def carry(to, *sources, arguments=()):
    named = [word for source in sources for word in ("--from", source.path)]
    return main([str(word) for word in ("calibrate", to.path, *named, *arguments)])


def test_a_calibration_is_carried_over_and_every_answer_says_so(index, folder, tmp_path, capsys):
    assert run(index, folder) == 0
    other = other_region(tmp_path, "other")
    assert carry(other, index) == 0
    printed = capsys.readouterr().out
    assert f"Carried over from {index.path.name} (" in printed
    own = Calibration.from_json(Index.open(index.path).manifest.calibration)
    carried = Calibration.from_json(Index.open(other.path).manifest.calibration)
    assert [kind.fit for kind in carried.kinds] == [kind.fit for kind in own.kinds]
    assert [kind.spread for kind in carried.kinds] == [kind.spread for kind in own.kinds]
    assert carried.kinds[0].measured == {}
    assert [region.index for region in carried.carried_from] == [index.path.name]
    assert own.carried_from == ()
    located = ["locate", str(folder / "00.png"), "--index", str(other.path), "--format", "jsonl"]
    assert main(located) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["calibrated"]["carried_from"] == [index.path.name]
    assert "of other regions" in record["confidence"]
    assert carry(other_region(tmp_path, "third"), other) == 2
    assert "was itself carried over" in capsys.readouterr().err


def test_a_calibration_of_several_regions_counts_their_photos(index, folder, tmp_path):
    assert run(index, folder) == 0
    (tmp_path / "twin").mkdir()
    twin = indexed(
        tmp_path / "twin", embedder=TOY, paths=[folder / "aerial.tif"], stride_m=STRIDE_M
    )
    assert run(twin, folder) == 0
    target = other_region(tmp_path, "other")
    assert carry(target, index, twin) == 0
    own = Calibration.from_json(Index.open(index.path).manifest.calibration).kinds[0]
    joined = Calibration.from_json(Index.open(target.path).manifest.calibration).kinds[0]
    assert joined.n == 2 * own.n
    assert joined.fit.temperature == pytest.approx(own.fit.temperature)
    assert joined.spread.centre_m == pytest.approx(own.spread.centre_m)


def test_what_cannot_be_carried_over_is_refused_and_nothing_is_written(
    index, folder, tmp_path, capsys
):
    bare = other_region(tmp_path, "bare")
    assert carry(bare, index) == 2
    assert "has no calibration to carry over" in capsys.readouterr().err
    assert run(index, folder) == 0
    coarse = other_region(tmp_path, "coarse", stride_m=20.0)
    assert carry(coarse, index) == 2
    assert "its stride in metres is 10.0, and that of" in capsys.readouterr().err
    assert carry(index, index) == 2
    assert "is the index itself" in capsys.readouterr().err
    for given in (["--truth", folder / "places.csv"], [folder / "00.png"], ["--elsewhere", "far"]):
        assert carry(bare, index, arguments=given) == 2
        assert "Give one of the two" in capsys.readouterr().err
    assert all(Index.open(made.path).manifest.calibration is None for made in (bare, coarse))


def test_a_dry_run_prints_and_writes_only_its_file(index, folder, tmp_path, capsys):
    out = tmp_path / "measured.json"
    drawing = tmp_path / "drawn.svg"
    assert run(index, folder, "--dry-run", "--out", out, "--figure", drawing) == 0
    assert "panoramas" in capsys.readouterr().out
    assert drawing.read_text(encoding="utf-8").count("<svg") == 1
    assert Index.open(index.path).manifest.calibration is None
    measured = json.loads(out.read_text())["kinds"][0]["measured"]
    assert sum(n for _, _, n in measured["reliability"]) == PHOTOS


def test_too_few_photos_are_refused_and_nothing_is_written(index, folder, capsys):
    assert run(index, folder, "--coverage", "95") == 2
    printed = capsys.readouterr().err
    assert "30 known photos are too few for a coverage of 95 %, which takes 100" in printed
    assert "--coverage 80" in printed
    assert Index.open(index.path).manifest.calibration is None


def test_adding_imagery_ends_a_calibration(index, folder, tmp_path):
    from crossview.index.build import add_to_index

    assert run(index, folder) == 0
    with open_sources([region(tmp_path, name="more.tif", seed=1)]) as imagery:
        assert add_to_index(imagery, TOY, index.path).manifest.calibration is None


def test_photos_without_a_place_or_outside_are_left_out_and_counted(index, folder, capsys):
    rows = (folder / "places.csv").read_text().splitlines()
    (folder / "some.csv").write_text("\n".join([*rows[:-2], "29.png,10.0,10.0"]))
    arguments = ["calibrate", index.path, *sorted(folder.glob("*.png")), "--coverage", "80"]
    assert main([str(w) for w in (*arguments, "--truth", folder / "some.csv")]) == 0
    printed = capsys.readouterr()
    assert "1 photos have no known place" in printed.err
    assert "1 photos were taken where the index has no window" in printed.err
    assert "28 known photos" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--truth", "exif"], "photos with GPS"),
        (["--coverage", "100"], "between 0 and 1"),
        (["--elsewhere-share", "0"], "between 0 and 1"),
        (["--figure", "x.doc"], "ends in .png, .svg or .pdf"),
    ],
)
def test_what_cannot_be_done_is_refused(index, folder, arguments, message, capsys):
    assert run(index, folder, *arguments) == 2
    assert message in capsys.readouterr().err


def test_photos_without_gps_leave_nothing_to_calibrate_on(index, folder, capsys):
    assert main(["calibrate", str(index.path), str(folder / "00.png")]) == 2
    assert "nothing to calibrate on" in capsys.readouterr().err


def test_what_is_added_while_a_calibration_waits_is_kept(index, folder):
    """Calibrate opens the index, waits for the other, and measures what is there then."""
    have = threading.Event()

    def add_slowly():
        with lock(index.path, "crossview index --add"):
            have.set()
            time.sleep(0.3)
            added(index.path.parent, [region(index.path.parent, "b.tif", seed=3)], embedder=TOY)

    other = threading.Thread(target=add_slowly)
    other.start()
    have.wait()
    assert run(index, folder) == 0
    other.join()
    manifest = Index.open(index.path).manifest
    assert manifest.windows == 2 * index.count
    assert manifest.calibration is not None
    assert Index.open(index.path).verify()


def test_what_is_added_beside_a_calibration_waits_for_it_and_is_kept(index, folder, monkeypatch):
    other = threading.Thread(
        target=added,
        args=(index.path.parent, [region(index.path.parent, "b.tif", seed=3)]),
        kwargs={"embedder": TOY},
    )
    measure = grouping.calibrate

    def beside(*arguments):
        other.start()
        time.sleep(0.3)
        return measure(*arguments)

    monkeypatch.setattr(grouping, "calibrate", beside)
    assert run(index, folder) == 0
    other.join()
    manifest = Index.open(index.path).manifest
    assert manifest.windows == 2 * index.count
    assert manifest.calibration is None  # one that was measured on less is not kept


def test_an_index_that_was_replaced_by_hand_meanwhile_is_left_as_it_is(
    index, folder, monkeypatch, capsys
):
    measure = grouping.calibrate

    def replaced(*arguments):
        path = index.path / "manifest.json"
        values = json.loads(path.read_text()) | {"created": "2001-01-01", "format_version": 1}
        del values["checksum"]
        path.write_text(json.dumps(values))
        return measure(*arguments)

    monkeypatch.setattr(grouping, "calibrate", replaced)
    assert run(index, folder) == 1
    assert "was changed by another process meanwhile" in capsys.readouterr().err
    assert Index.open(index.path).manifest.calibration is None


def test_measuring_without_keeping_needs_no_right_to_write(index, folder, monkeypatch):
    monkeypatch.setattr("crossview.cli.calibrate.lock", None)
    assert run(index, folder, "--dry-run") == 0
