"""Which rows of a panorama a model sees is a matter of the data set, not of the model.

CVUSA's panoramas are taken whole; of CVACT's spheres the papers of SAFA, GeoDTR and GeoDTR+ take
the middle half, those of Sample4Geo, ConGeo and SinGeo all. Whatever a model was trained on.
"""

import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.datasets import twins
from tests.toy_embedder import toy_info
from tests.training.tiny import PAGE

from crossview.catalogue import (
    BENCHMARKS,
    find_framing,
    make_config,
    method_page,
    open_data,
    open_run,
)
from crossview.cli import main
from crossview.errors import BadData, BadModel, InvalidValue
from crossview.evaluation.evaluation_record import Evaluation
from crossview.index.index_options import COARSEST, IndexOptions, choose_tiling
from crossview.model import read_info
from crossview.pairs.reading import Files, measure_framing
from crossview.pairs.table import Framing, frame_spec, frame_views
from crossview.studies.running import Workplace, open_real_areas, run_row
from crossview.studies.study import Row, Study
from crossview.views.decode import read_rgb

SMALL = {
    "geodtr-plus": {
        "backbone": "test_convnext",
        "ground_px": [32, 64],
        "aerial_px": [32, 64],
        "hidden": 16,
        "chsg": False,
    },
    "sample4geo": {
        "backbone": "test_convnext",
        "ground_px": [32, 128],
        "aerial_px": 32,
        "gps_sampling": False,
        "refresh_epochs": 0,
    },
}
STEPS = {"batch": 2, "steps": 1, "amp": False}
HEIGHT = 64  # of the twins' panoramas; blocks of JPEG end where the middle half does


def panoramas(root, kind):
    return sorted(root.rglob("*_grdView.jpg" if kind == "cvact" else "panos/*.jpg"))


def save(path, pixels):
    Image.fromarray(pixels).save(path, quality=95, subsampling=0)


@pytest.fixture
def twin(tmp_path):
    """A twin by name, its panoramas 128 x 64, or of CVUSA's shape."""

    def make(kind):
        root = tmp_path / kind
        (twins.cvact(root, 4, 6, 6) if kind == "cvact" else twins.cvusa(root, 4, 12))
        for path in panoramas(root, kind):
            save(path, noise(path, kind))
        return root

    return make


def noise(path, kind):
    """The pixels of a panorama of the twin before it is painted."""
    width = 128 if kind == "cvact" else 352
    rng = np.random.default_rng([*path.name.encode()])
    return rng.integers(0, 256, (HEIGHT, width, 3), dtype=np.uint8)


def repaint(root, kind, *, outer):
    """Other colours in the upper and lower quarter of every panorama, or in the middle half."""
    for path in panoramas(root, kind):
        pixels = noise(path, kind)
        painted = np.random.default_rng([1, *path.name.encode()]).integers(0, 90, 3, dtype=np.uint8)
        middle = slice(HEIGHT // 4, 3 * HEIGHT // 4)
        inside = painted if not outer else pixels[middle].copy()
        if outer:
            pixels[:] = painted
        pixels[middle] = inside
        save(path, pixels)


def trained(root, kind, out, method="geodtr-plus", *more):
    given = {**SMALL[method], **STEPS}
    settings = [
        f"--config={k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in given.items()
    ]
    line = ["train", "--method", method, "--data", f"{kind}:{root}", "--recipe", kind, "--out", out]
    more = ("--no-pretrained", "--device", "cpu", "--workers", "0", "--val-share", "0", *more)
    assert main([*map(str, line), *settings, *more]) == 0
    return out


def scores(run_folder, kind, root, out, *more):
    line = ["evaluate", run_folder, "--data", f"{kind}:{root}", "--out", out, "--workers", "0"]
    assert main([*map(str, line), "--device", "cpu", *more]) == 0
    record = Evaluation.read(out)
    best = record.queries.best_score
    return np.concatenate([best[np.isfinite(best)], record.queries.true_score])


def test_a_model_of_cvusa_sees_the_middle_half_of_cvact(twin, tmp_path):
    usa, act = twin("cvusa"), twin("cvact")
    model = trained(usa, "cvusa", tmp_path / "run")
    before = scores(model, "cvact", act, tmp_path / "a")
    repaint(act, "cvact", outer=True)
    np.testing.assert_array_equal(scores(model, "cvact", act, tmp_path / "b"), before)
    repaint(act, "cvact", outer=False)
    assert np.abs(scores(model, "cvact", act, tmp_path / "c") - before).max() > 1e-3


def test_a_model_of_cvact_sees_all_rows_of_cvusa(twin, tmp_path):
    usa, act = twin("cvusa"), twin("cvact")
    model = trained(act, "cvact", tmp_path / "run")
    own = scores(model, "cvact", act, tmp_path / "own")
    repaint(act, "cvact", outer=True)
    np.testing.assert_array_equal(scores(model, "cvact", act, tmp_path / "own2"), own)
    before = scores(model, "cvusa", usa, tmp_path / "a")
    repaint(usa, "cvusa", outer=True)
    assert np.abs(scores(model, "cvusa", usa, tmp_path / "b") - before).max() > 1e-3


def test_an_exported_model_says_and_sees_what_its_run_does(twin, tmp_path):
    usa, act = twin("cvusa"), twin("cvact")
    model = trained(act, "cvact", tmp_path / "run", "sample4geo")
    assert main(["export", str(model), "--out", str(tmp_path / "model")]) == 0
    info = read_info(tmp_path / "model")
    assert info.aerial.footprint_m == 146.0
    assert info.aerial.metres_per_px == pytest.approx(146.0 / 32)
    assert info.ground.elevation_deg == (-90.0, 90.0)
    by_run = scores(model, "cvusa", usa, tmp_path / "a")
    by_model = scores(tmp_path / "model", "cvusa", usa, tmp_path / "b")
    np.testing.assert_allclose(by_run, by_model, atol=1e-4)


STUDY = Study(
    name="framing",
    title="Framing",
    question="Does a study show what evaluate shows?",
    method="geodtr-plus",
    rows=(
        Row(name="raw", says="raw", settings={**SMALL["geodtr-plus"], **STEPS, "weights": "none"}),
    ),
    towns={},
)


@pytest.mark.parametrize(("own", "other"), [("cvusa", "cvact"), ("cvact", "cvusa")])
def test_a_study_shows_what_evaluate_shows(twin, tmp_path, own, other):
    roots = {kind: twin(kind) for kind in (own, other)}

    def cross(name):
        place = Workplace(runs=tmp_path / name, workers=0, device="cpu")
        areas = open_real_areas(*(f"{kind}:{root}" for kind, root in roots.items()))
        tests = run_row(STUDY, STUDY.row("raw"), 1, areas, place, lambda report: None).tests
        folder = place.folder(STUDY, STUDY.row("raw"), 1)
        line = [
            "evaluate",
            folder,
            "--data",
            f"{other}:{roots[other]}",
            "--out",
            tmp_path / name / "e",
        ]
        split = "val" if other == "cvact" else "test"
        more = ("--split", split, "--workers", "0", "--device", "cpu")
        assert main([*map(str, line), *more]) == 0
        figures = Evaluation.read(tmp_path / name / "e").figures
        ranks = Evaluation.read(tmp_path / name / "e").queries.rank
        assert tests["cross"]["R@1"] == pytest.approx(100 * np.mean(ranks <= 1), abs=1e-3)
        assert tests["cross"]["R@5"] == pytest.approx(100 * np.mean(ranks <= 5), abs=1e-3)
        assert figures
        return ranks

    before = cross("before")
    repaint(roots[other], other, outer=True)
    outer = cross("outer")
    assert (outer == before).all() == (other == "cvact")


def test_a_method_that_takes_every_row_does_so_on_any_data(twin, tmp_path):
    usa, act = twin("cvusa"), twin("cvact")
    model = trained(usa, "cvusa", tmp_path / "run", "sample4geo")
    before = scores(model, "cvact", act, tmp_path / "a")
    repaint(act, "cvact", outer=True)
    assert np.abs(scores(model, "cvact", act, tmp_path / "b") - before).max() > 1e-3


def views_of(method, kind):
    page = method_page(method).load()
    config = make_config(page, {**SMALL[method], "whole": True})
    return frame_views(page.views(config), find_framing(kind))


@pytest.mark.parametrize(
    ("method", "kind", "footprint_m", "elevation_deg"),
    [
        ("geodtr-plus", "cvusa", 176.0, 32.7),
        ("geodtr-plus", "cvact", 146.0, 45.0),
        ("geodtr-plus", "vigor-same", 71.0, 90.0),
        ("sample4geo", "cvusa", 176.0, 32.7),
        ("sample4geo", "cvact", 146.0, 90.0),
        ("sample4geo", "vigor-cross", 71.0, 90.0),
        ("sample4geo", "university-1652", None, None),
    ],
)
def test_metres_and_angles_are_those_of_the_data_set(method, kind, footprint_m, elevation_deg):
    views = views_of(method, kind)
    assert views.aerial.footprint_m == footprint_m
    assert views.ground.elevation_deg == (elevation_deg and (-elevation_deg, elevation_deg))


def test_an_index_takes_windows_of_the_metres_that_training_showed():
    aerial = views_of("sample4geo", "cvusa").aerial
    info = toy_info(aerial=replace(aerial, height_px=384, width_px=384))
    assert choose_tiling(info, IndexOptions()).footprint_m == 176.0
    assert COARSEST * info.aerial.metres_per_px > 0.4  # such imagery is fine enough
    unknown = toy_info(aerial=views_of("sample4geo", "university-1652").aerial)
    with pytest.raises(BadModel, match="crossview index --footprint METRES"):
        choose_tiling(unknown, IndexOptions())
    assert choose_tiling(unknown, IndexOptions(footprint_m=50.0)).footprint_m == 50.0


MERCATOR_M = 40_075_016.686 / 256  # a pixel of zoom 0 at the equator


@pytest.mark.parametrize(
    ("kind", "zoom", "latitudes"),
    [
        ("cvusa", 19, {38.0: 1}),
        ("cvact", 20, {-35.3: 1}),
        ("vigor-same", 20, {41.85: 25_479, 40.7: 27_769, 37.74: 28_215, 47.6: 23_751}),
    ],
)
def test_the_footprints_follow_from_pixels_zoom_and_place(kind, zoom, latitudes):
    shown = find_framing(kind)
    cosines = [np.cos(np.radians(lat)) for lat in latitudes]
    wide = (
        shown.aerial_px * MERCATOR_M / 2**zoom * np.average(cosines, weights=[*latitudes.values()])
    )
    assert shown.footprint_m == pytest.approx(wide, rel=0.01)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_official_data_set_says_what_its_tables_carry(name):
    assert find_framing(name) == find_framing(name.upper()) == find_framing(f"{name}:somewhere")
    assert find_framing(name).keep_rows is not None


def test_the_prepared_panoramas_of_cvact_are_cut_and_resized_by_area(twin):
    act = twin("cvact")
    table = open_data(f"cvact:{act}").tables["test"]
    ours = Files(table, views_of("geodtr-plus", "cvusa")).ground(0)[0]
    file = read_rgb(table.ground[0])
    theirs = cv2.resize(file[16:48], (64, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(ours, theirs)
    means = file[16:48].reshape(32, 1, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(ours - means).max() <= 0.5  # by area, in plain words
    usa = replace(table, framing=find_framing("cvusa"))
    assert Files(usa, views_of("geodtr-plus", "cvact")).ground(0)[0].std() < file.std()


def test_what_files_span_is_no_matter_of_the_cache(twin):
    table = open_data(f"cvact:{twin('cvact')}").tables["test"]
    usa, act = (Files(table, views_of("geodtr-plus", kind)) for kind in ("cvusa", "cvact"))
    for side in ("ground", "aerial"):
        assert usa.settings(side) == act.settings(side)
    other = Files(replace(table, framing=find_framing("cvusa")), usa.views)
    assert other.settings("ground") != usa.settings("ground")


def test_views_that_are_not_whole_keep_their_angles_and_metres():
    page = method_page("geodtr-plus").load()
    views = page.views(page.Config())
    assert frame_views(views, find_framing("cvact")) == views
    assert frame_spec(views.ground, find_framing("cvact")) == views.ground


def own_pairs(folder, **changes):
    from tests.tiny_pairs import write_pairs

    return open_data(f"pairs:{write_pairs(folder, 5, extra=changes)}").tables["train"]


def test_what_own_pairs_span_follows_from_columns_and_shapes(tmp_path):
    shown = measure_framing(own_pairs(tmp_path / "a"))  # 64 pixels of 1.25 m; panoramas of 2 : 1
    assert (shown.footprint_m, shown.file_elevation_deg) == (80.0, (-90.0, 90.0))
    photos = measure_framing(own_pairs(tmp_path / "b", kind="perspective", fov_deg=60))
    assert (photos.footprint_m, photos.file_elevation_deg) == (80.0, None)
    table = own_pairs(tmp_path / "c")
    scale = table.metres_per_px.copy()
    scale[0] *= 2
    assert measure_framing(replace(table, metres_per_px=scale)).footprint_m is None


def test_own_panoramas_are_cut_where_the_file_beside_them_says(tmp_path):
    from tests.tiny_pairs import write_pairs

    csv = write_pairs(tmp_path, 4)
    csv.with_suffix(".json").write_text('{"keep_rows": [0.25, 0.75]}')
    table = open_data(f"pairs:{csv}").tables["train"]
    views = frame_views(views_of("geodtr-plus", "university-1652"), measure_framing(table))
    assert views.ground.elevation_deg == (-45.0, 45.0)
    assert frame_spec(views.ground, table.framing).keep_rows == (0.25, 0.75)
    csv.with_suffix(".json").write_text('{"keep_rows": [0.75, 0.25]}')
    with pytest.raises(BadData, match="expected two shares of a panorama's height"):
        open_data(f"pairs:{csv}")


def test_a_framing_refuses_what_cannot_be():
    for wrong in ({"keep_rows": (0.5, 0.5)}, {"footprint_m": 0.0}):
        with pytest.raises(InvalidValue):
            Framing(**wrong)


def test_a_run_of_before_keeps_its_rows_on_its_own_data_only(twin, tmp_path):
    """Runs used to store ``keep_rows`` among the settings of the method."""
    usa, act = twin("cvusa"), twin("cvact")
    folder = trained(act, "cvact", tmp_path / "run")
    file = folder / "config.json"
    record = json.loads(file.read_text())
    assert record.pop("framing") == {
        "keep_rows": [0.25, 0.75],
        "ground_resize": "area",
        "elevation_deg": [-45.0, 45.0],
        "footprint_m": 146.0,
    }
    record["config"] |= {"keep_rows": [0.0, 0.75], "footprint_m": 146.0}
    file.write_text(json.dumps(record))
    opened = open_run(folder)
    assert opened.views.ground.keep_rows == (0.0, 0.75)
    assert opened.views.ground.elevation_deg == (-45.0, 90.0)
    assert opened.views.aerial.footprint_m == 146.0
    before = scores(folder, "cvact", act, tmp_path / "a")
    all_of_usa = scores(folder, "cvusa", usa, tmp_path / "b")
    repaint(act, "cvact", outer=True)
    assert np.abs(scores(folder, "cvact", act, tmp_path / "c") - before).max() > 1e-4
    repaint(usa, "cvusa", outer=True)
    assert np.abs(scores(folder, "cvusa", usa, tmp_path / "d") - all_of_usa).max() > 1e-4


def test_a_run_of_before_goes_on_unless_its_pixels_were_others(twin, tmp_path, capsys):
    usa = twin("cvusa")
    folder = trained(usa, "cvusa", tmp_path / "run")
    file = folder / "config.json"
    record = json.loads(file.read_text())
    del record["framing"]
    record["config"] |= {"keep_rows": [0.0, 1.0], "footprint_m": 176.0}
    file.write_text(json.dumps(record))
    trained(usa, "cvusa", folder)
    record["config"]["keep_rows"] = [0.0, 0.5]
    file.write_text(json.dumps(record))
    with pytest.raises(AssertionError):
        trained(usa, "cvusa", folder)
    assert "framing.keep_rows: [0.0, 0.5] there, [0.0, 1.0] now" in capsys.readouterr().err


def test_pages_of_ones_own_are_not_framed(twin, tmp_path):
    views = method_page(str(PAGE)).load().views(method_page(str(PAGE)).load().Config())
    assert frame_views(views, find_framing("cvusa")) == views


def test_a_run_of_before_on_own_pairs_says_what_its_settings_said(tmp_path):
    """They had no data set's page to ask."""
    page = method_page("geodtr-plus").load()
    settings = {**asdict(make_config(page, {**SMALL["geodtr-plus"], "whole": True}))}
    settings |= {"keep_rows": [0.25, 0.75], "elevation_deg": [-40.0, 40.0], "footprint_m": 80.0}
    record = {"method": "geodtr-plus", "config": settings, "data": "pairs:mine/pairs.csv"}
    (tmp_path / "config.json").write_text(json.dumps(record))
    run_of_before = open_run(tmp_path)
    views = run_of_before.views
    assert views.ground.keep_rows == (0.25, 0.75)
    assert views.ground.elevation_deg == (-40.0, 40.0)
    assert views.aerial.footprint_m == 80.0
    table = own_pairs(tmp_path / "data")
    assert run_of_before.frame(table, "pairs:mine/pairs.csv") is table  # says no rows: the model's
    assert frame_spec(views.ground, table.framing).keep_rows == (0.25, 0.75)
