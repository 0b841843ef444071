"""``crossview index`` as a person types it."""

import shutil

import cv2
import pytest
from tests.imagery.georeferenced import BERLIN, geotiff, tiles_around, xyz_folder
from tests.index.regions import meadow, region
from tests.shared_data import shared
from tests.toy_model import toy_model

from crossview import cli
from crossview.index.store import Index


@pytest.fixture
def model(tmp_path):
    return toy_model(tmp_path / "model")


@pytest.fixture
def crossview(tmp_path, monkeypatch, capsys):
    """Run ``crossview index`` in an empty folder; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.main(["index", *map(str, arguments)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert len(printed.err.splitlines()) <= 4
        return code, printed.out, printed.err

    return run


def test_an_index_is_made_and_the_next_command_printed(tmp_path, crossview, model):
    region(tmp_path)
    code, out, err = crossview("aerial.tif", "--model", model, "--out", "region.cvx")
    assert (code, err) == (0, "")
    assert "374 windows of 40 m every 10 m" in out
    assert "(c) Meadow" in out
    assert "crossview locate PHOTO --index region.cvx" in out
    assert Index.open(tmp_path / "region.cvx").manifest.model.name_or_path == str(model.resolve())


def test_verify_reads_an_index(tmp_path, crossview, model):
    region(tmp_path)
    crossview("aerial.tif", "--model", model, "--out", "region.cvx")
    assert crossview("--verify", "region.cvx")[1].startswith("region.cvx is intact: 374 windows")
    (tmp_path / "region.cvx" / "segment-00000.offsets.npy").write_bytes(b"")
    code, _, err = crossview("--verify", "region.cvx")
    assert (code, "holds 0 of" in err) == (1, True)


def test_a_dry_run_prints_tiles_size_and_time_and_writes_nothing(tmp_path, crossview, model):
    region(tmp_path)
    _, out, _ = crossview("aerial.tif", "--model", model, "--out", "region.cvx", "--dry-run")
    assert out.startswith("374 tiles of 40 m every 10 m")
    assert "MB on disk" in out
    assert not list(tmp_path.glob("region.cvx*"))


def test_a_dry_run_for_a_country_says_units_hours_shards_and_what_a_query_costs(
    tmp_path, crossview, model
):
    """Of a sample of its imagery, and of none; the rates are measured, the rest is arithmetic."""
    region(tmp_path)
    words = [
        "--model",
        model,
        "--out",
        "c.cvx",
        "--dry-run",
        "--area-km2",
        357_000,
        "--workers",
        64,
    ]
    for source, timed in ((["aerial.tif"], "20 tiles of this imagery"), ([], "16 tiles of noise")):
        code, out, _ = crossview(*source, *words)
        assert code == 0
        windows = 357_000 * 1_000_000 // 10**2
        assert f"{windows} tiles of 40 m every 10 m" in out
        assert f"{-(-(windows - 1920) // 2048) + 4} units for workers, in 357 shards" in out
        assert f"tiles/s with all threads, on {timed}" in out or "tiles/s with 1 threads" in out
        assert "for each of 64" in out
        assert "One photo of 90 degrees against all tiles: " in out
        assert "workers take a day" in out
    assert not list(tmp_path.glob("c.cvx*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dry-run"], "Give imagery to index"),
        (["--area-km2", "5"], "Give imagery to index"),
        (["a.tif", "--area-km2", "5"], "and --dry-run"),
        (["--dry-run", "--area-km2", "-5"], "give km2"),
    ],
)
def test_an_estimate_needs_an_area(crossview, words, said):
    code, _, err = crossview(*words, "--out", "c.cvx")
    assert (code, said in err) == (2, True), err


def test_a_long_job_gets_a_larger_stride_suggested(tmp_path, crossview, model, monkeypatch):
    monkeypatch.setattr("crossview.index.build.LONG_S", 1e-6)
    region(tmp_path)
    _, out, _ = crossview("aerial.tif", "--model", model, "--out", "region.cvx", "--dry-run")
    assert "--stride" in out
    assert "--near LAT,LON --within KM" in out


def test_real_imagery_needs_a_model_to_be_named_where_none_of_earth_is_packaged(
    tmp_path, crossview, packaged_models
):
    shutil.rmtree(packaged_models / "earth")
    region(tmp_path)
    code, _, err = crossview("aerial.tif", "--out", "region.cvx")
    assert code == 2
    assert "--model FOLDER" in err


def test_doubts_about_imagery_are_said_once_before_the_work(tmp_path, crossview, model):
    geotiff(tmp_path / "grey.tif", meadow()[..., 1])
    for more in (["--dry-run"], []):
        _, out, err = crossview(
            "grey.tif", "--model", model, "--out", "region.cvx", "--quiet", *more
        )
        assert out
        assert err.count("the imagery has no colour") == 1


def test_options_reach_the_index(tmp_path, crossview, model):
    region(tmp_path)
    code, _, _ = crossview(
        "aerial.tif", "--model", model, "--out", "region.cvx", "--footprint", 60, "--stride", 35,
        "--attribution", "(c) Me", "--date", "2026-05-01", "--bands", "3,2,1",
    )  # fmt: skip
    manifest = Index.open(tmp_path / "region.cvx").manifest
    assert code == 0
    assert (manifest.footprint_m, manifest.stride_m, manifest.windows) == (60.0, 35.0, 35)
    assert (manifest.imagery.attribution, manifest.imagery.date) == ("(c) Me", "2026-05-01")
    assert manifest.imagery.options.bands == (3, 2, 1)


def test_only_a_circle_is_indexed_when_asked(tmp_path, crossview, model):
    region(tmp_path)
    crossview("aerial.tif", "--model", model, "--out", "all.cvx")
    whole = Index.open(tmp_path / "all.cvx")
    middle = f"{whole.lat.mean()},{whole.lon.mean()}"
    crossview(
        "aerial.tif", "--model", model, "--out", "part.cvx", "--near", middle, "--within", 0.05
    )
    assert 40 < Index.open(tmp_path / "part.cvx").count < 90


def test_new_imagery_is_added_with_the_model_of_the_index(tmp_path, crossview, model):
    region(tmp_path)
    geotiff(tmp_path / "new.tif", meadow(seed=4))
    crossview("aerial.tif", "--model", model, "--out", "region.cvx")
    code, out, _ = crossview("new.tif", "--add", "--out", "region.cvx")
    assert (code, "748 windows" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.tif"], 1, "There is no nowhere.tif"),
        (["plain.tif"], 1, "not their place on Earth"),
        (["notes.txt"], 1, "notes.txt cannot be read as imagery"),
        (["cut.tif"], 1, "cut.tif cannot be read as imagery"),
        (["aerial.tif", "--near", "52.5"], 2, "'52.5' is not a place"),
        (["aerial.tif", "--near", "52.5,13.4"], 2, "--near LAT,LON --within KM"),
        (["aerial.tif", "--bands", "red"], 2, "--bands red: give band numbers"),
        (["aerial.tif", "--bands", "1,2,9"], 2, "has bands 1 to 3"),
        (["aerial.tif", "--stretch", "98,2"], 2, "give two percentiles"),
        (["aerial.tif", "--footprint", "-5"], 2, "--footprint -5.0: give metres"),
        (["aerial.tif", "--footprint", "inf"], 2, "--footprint inf: give metres"),
        (["aerial.tif", "--footprint", "nan"], 2, "--footprint nan: give metres"),
        (["aerial.tif", "--stride", "0"], 2, "0.1 or more"),
        (["aerial.tif", "--stride", "inf"], 2, "0.1 or more"),
        (["aerial.tif", "--near", "52.5,13.4", "--within", "inf"], 2, "give kilometres"),
        (["aerial.tif", "--near", "52.5,13.4", "--within", "nan"], 2, "give kilometres"),
        (["aerial.tif", "--footprint", "900"], 1, "smaller than one window"),
        (["aerial.tif", "--modle", "x"], 2, "--model"),
    ],
)
def test_a_mistake_is_reported_in_a_line_or_three(
    tmp_path, crossview, model, arguments, code, message
):
    region(tmp_path)
    cv2.imwrite(str(tmp_path / "plain.tif"), meadow())
    (tmp_path / "notes.txt").write_text("not imagery")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "aerial.tif").read_bytes()[:200_000])
    got, out, err = crossview(*arguments, "--model", model, "--out", "region.cvx")
    assert (got, out) == (code, "")
    assert message in err
    assert not list(tmp_path.glob("region.cvx*"))


def test_out_is_required(tmp_path, crossview, model):
    region(tmp_path)
    code, _, err = crossview("aerial.tif", "--model", model)
    assert (code, "--out region.cvx" in err) == (2, True)


def test_a_real_vector_archive_is_refused_with_its_reason(crossview, model):
    archive = shared("data", "florence_osm", "protomaps_firenze.pmtiles")
    code, _, err = crossview(archive, "--model", model, "--out", "region.cvx")
    assert (code, "holds vector tiles" in err) == (1, True)


def test_notes_on_the_imagery_are_reported_and_rough_shifts_always(tmp_path, crossview, model):
    region(tmp_path, crs="EPSG:2029")  # NAD27(76) / UTM 17N, for which PROJ has no shift
    _, _, err = crossview("aerial.tif", "--model", model, "--out", "a.cvx")
    assert "aerial.tif" not in err
    assert "knows no datum shift from NAD27(76)" in err
    _, _, err = crossview(
        "aerial.tif", "--model", model, "--out", "b.cvx", "--crs", "EPSG:32633", "--dry-run"
    )
    assert "aerial.tif: EPSG:32633 was taken, as --crs says" in err
    assert "datum" not in err


def test_a_border_is_reported_and_left_out_when_named(tmp_path, crossview, model):
    pixels = meadow()
    pixels[:, :200] = 0
    geotiff(tmp_path / "a.tif", pixels)
    _, out, err = crossview("a.tif", "--model", model, "--out", "a.cvx")
    assert "a.tif has a border of the colour 0,0,0 over 40 % of it" in err
    _, fewer, err = crossview("a.tif", "--model", model, "--out", "b.cvx", "--nodata", "0")
    assert "border" not in err
    assert int(fewer.split()[1]) < int(out.split()[1])


@pytest.mark.parametrize("value", ["", "black", "1,2", "nan", "1,2,3,4"])
def test_nodata_is_one_number_or_three(tmp_path, crossview, model, value):
    region(tmp_path)
    code, _, err = crossview("aerial.tif", "--model", model, "--out", "a.cvx", "--nodata", value)
    assert (code, "give one number, or three" in err) == (2, True)


@pytest.mark.parametrize("option", ["--tms", "--no-tms"])
def test_the_order_of_rows_can_be_given(tmp_path, crossview, model, option):
    tiles, _ = tiles_around(BERLIN, 17, 1, size=256)
    xyz_folder(tmp_path / "tiles", tiles, 17)
    code, _, err = crossview("tiles", "--model", model, "--out", "a.cvx", "--quiet", option)
    assert (code, err) == (0, "")
    south = Index.open(tmp_path / "a.cvx").lat.mean() < 0
    assert south == (option == "--tms")
    _, _, err = crossview("tiles", "--model", model, "--out", "b.cvx")
    assert "does not say how its rows count" in err


@pytest.mark.parametrize(("footprint_m", "warned"), [(41.9, False), (42.1, True), (37.9, True)])
def test_footprints_that_the_model_was_not_trained_on_are_reported(
    tmp_path, crossview, model, footprint_m, warned
):
    region(tmp_path)
    options = ("--footprint", footprint_m, "--stride", 90, "--out", "region.cvx")
    code, _, err = crossview("aerial.tif", "--model", model, *options)
    assert code == 0
    assert ("the model was trained on windows of 40 m; others are untried" in err) is warned
