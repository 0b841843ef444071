"""``crossview.locate``, ``build_index``, ``Model``: what a program may give, and what it gets."""

import inspect
import shutil
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import indexed, region
from tests.localization.fake_index import spheres, toy
from tests.tiny_pairs import write_pairs
from tests.toy_model import toy_model

import crossview
from crossview.assessment import AssessmentOptions, AssessmentValues
from crossview.cli import main
from crossview.errors import BadImage, InvalidValue, ModelMismatch, UnknownName, UsageError
from crossview.evaluation.evaluation_record import Evaluation
from crossview.geo.points import LatLon
from crossview.imagery.provenance import SourceOptions
from crossview.index.index_options import BuildValues, IndexOptions
from crossview.localization import locate as finding
from crossview.localization.answer import Answer
from crossview.localization.hints import Hints, HintValues
from crossview.views.decode import load_photo

EMBEDDER = toy()
PIXELS = spheres(1)[0]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return indexed(tmp_path_factory.mktemp("region"), embedder=EMBEDDER, stride_m=40.0)


@pytest.fixture(autouse=True)
def _toy_model(monkeypatch):
    monkeypatch.setattr(finding, "get_index_model", lambda index, **_: EMBEDDER)


@pytest.fixture
def path(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_paths_bytes_images_pixels_and_photos_are_taken_alone_and_in_lists(index, path):
    sources = [
        str(path), path, path.read_bytes(), Image.open(path), Image.fromarray(PIXELS), PIXELS,
        load_photo(path),
    ]  # fmt: skip
    expected = crossview.locate(index, path)
    assert isinstance(expected, Answer)
    for source in sources:
        np.testing.assert_array_equal(crossview.locate(index, source).scores, expected.scores)
    for several in (sources, tuple(sources)):
        answers = crossview.locate(index, several, places=3)
        assert isinstance(answers, list)
        assert [len(answer.places) for answer in answers] == [3] * len(sources)
        for answer in answers:
            np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-6)
    assert crossview.locate(index, []) == []
    assert isinstance(crossview.locate(index, [path]), list)


@pytest.mark.parametrize("form", [tuple, list, np.array])
def test_an_area_may_be_a_pair_of_numbers(index, form):
    centre = LatLon(float(index.lat[4]), float(index.lon[4]))
    expected = crossview.locate(index, PIXELS, near=centre, within_m=60.0)
    assert 0 < np.isfinite(expected.scores).sum() < index.count
    near = form([centre.lat, centre.lon])
    answer = crossview.locate(index, PIXELS, near=near, within_m=60)
    np.testing.assert_array_equal(answer.scores, expected.scores)


@pytest.mark.parametrize(
    ("hints", "said"),
    [
        ({"near": (95.0, 0.0), "within_m": 10.0}, "latitude"),
        ({"near": (1.0, 2.0, 3.0), "within_m": 10.0}, "is not a place"),
        ({"near": 12.0, "within_m": 10.0}, "is not a place"),
        ({"near": (1.0, 2.0)}, "radius"),
        ({"within_m": 5.0}, "centre"),
        ({"near": (1.0, 2.0), "within_m": float("nan")}, "radius"),
        ({"fov_deg": 400}, "field of view"),
        ({"fov_deg": "70"}, "fov_deg must be a number"),
        ({"fov_deg": float("nan")}, "field of view"),
        ({"heading_deg": 361.0}, "heading"),
        ({"heading_deg": float("nan")}, "heading"),
        ({"heading_deg": True}, "heading_deg must be a number"),
        ({"horizon_px": float("inf")}, "horizon"),
        ({"places": 0}, "at least one place"),
        ({"places": 2.5}, "whole numbers"),
        ({"ignore_direction": "no"}, "True or False"),
    ],
)
def test_hints_are_checked_as_on_the_command_line(index, hints, said):
    with pytest.raises(InvalidValue, match=said):
        crossview.locate(index, PIXELS, **hints)


def test_numbers_of_numpy_are_numbers(index):
    answer = crossview.locate(
        index, PIXELS, fov_deg=np.float32(360.0), heading_deg=np.int64(0), places=np.int32(2)
    )
    assert (len(answer.places), answer.fov_source) == (2, "given")


@pytest.mark.parametrize("wrong", [PIXELS.astype(float), PIXELS[..., 0], b"no picture", "absent"])
def test_what_is_no_picture_is_refused_with_a_sentence(index, wrong):
    with pytest.raises(BadImage):
        crossview.locate(index, wrong)
    with pytest.raises(BadImage):
        crossview.locate(index, [PIXELS, wrong])


@pytest.mark.parametrize("wrong", [None, 7, {"photo": "a.jpg"}])
def test_what_is_no_source_of_a_picture_is_named(index, wrong):
    with pytest.raises(
        InvalidValue, match="a photo must be a path, bytes, a Pillow image or pixels"
    ):
        crossview.locate(index, wrong)


def test_every_public_name_is_there_and_nothing_else_is_listed():
    for name in crossview.__all__:
        assert getattr(crossview, name) is not None
    assert dir(crossview) == sorted(crossview.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        crossview.nothing  # noqa: B018


def test_every_function_says_what_it_takes():
    for name in crossview.__all__:
        face = getattr(crossview, name)
        if name != "__version__":
            assert len(inspect.getdoc(face).splitlines()[0]) > 20


@pytest.mark.parametrize(
    ("keywords", "records", "not_public"),
    [
        (HintValues, [Hints], set()),
        (BuildValues, [IndexOptions, SourceOptions],
         {"model_name", "batch", "segment_windows", "finest_useful_m"}),
        (AssessmentValues, [AssessmentOptions], {"data", "command"}),
    ],
)  # fmt: skip
def test_the_keywords_are_those_of_the_records_behind_them(keywords, records, not_public):
    names = {field.name for record in records for field in fields(record)}
    assert set(keywords.__annotations__) == names - not_public


def test_an_index_may_be_a_path_and_the_model_may_be_given(index):
    expected = crossview.locate(index, PIXELS).scores
    for given in (index.path, str(index.path)):
        np.testing.assert_array_equal(crossview.locate(given, PIXELS).scores, expected)
    np.testing.assert_array_equal(crossview.locate(index, PIXELS, model=EMBEDDER).scores, expected)
    with pytest.raises(ModelMismatch):
        crossview.locate(index, PIXELS, model="town")


def test_reprs_are_short(index):
    answer = crossview.locate(index, PIXELS)
    for each in (answer, answer.places[0], index, crossview.Model.open("town")):
        assert len(repr(each)) < 160
    assert repr(answer).startswith("Answer('pixels': 10 places, first Place(1: ")
    assert repr(index).endswith(
        f"region.cvx': {index.count} windows of 40 m, 0.0498 km2, model toy)"
    )


@pytest.mark.parametrize("many", [False, True])
def test_an_index_is_built_with_the_words_of_the_command_line(tmp_path, many):
    model = crossview.Model.open(toy_model(tmp_path / "model"))
    source, reports = region(tmp_path), []
    made = crossview.build_index(
        [source] if many else source,
        tmp_path / "r.cvx",
        model,
        stride_m=40.0,
        near=(52.518, 13.396),
        within_m=60.0,
        attribution="(c) me",
        progress=lambda *numbers: reports.append(numbers),
    )
    assert 0 < made.count < 35
    assert made.manifest.imagery.attribution == "(c) me"
    assert made.manifest.model.name_or_path == str((tmp_path / "model").resolve())
    assert reports[-1][0] == reports[-1][1]
    answer = crossview.locate(made, PIXELS, model=model)
    assert answer.index is made
    with pytest.raises(UsageError, match="There is an index"):
        crossview.build_index(source, tmp_path / "r.cvx", model)


def test_imagery_is_added_by_the_model_of_the_index(tmp_path):
    folder = toy_model(tmp_path / "model")
    made = crossview.build_index(region(tmp_path), tmp_path / "r.cvx", folder, stride_m=40.0)
    from rasterio.transform import Affine

    grid = Affine(0.5, 0, 491_000.0, 0, -0.5, 5_820_000.0)
    more = region(tmp_path, "b.tif", seed=1, transform=grid)
    assert crossview.build_index(more, made.path, add=True).count == 2 * made.count


def test_without_a_model_of_earth_real_imagery_is_refused_with_advice(tmp_path, packaged_models):
    shutil.rmtree(packaged_models / "earth")
    with pytest.raises(UsageError, match="Say which model"):
        crossview.build_index(region(tmp_path), tmp_path / "r.cvx")
    with pytest.raises(TypeError, match="strides_m"):
        crossview.build_index(region(tmp_path), tmp_path / "r.cvx", "town", strides_m=3.0)


@pytest.fixture
def measured(tmp_path):
    """A model folder and pairs whose split test holds all."""
    pairs = write_pairs(tmp_path / "data", 24, extra={"split": "test"})
    return toy_model(tmp_path / "model", fov_seen_deg=(360.0, 360.0)), f"pairs:{pairs}"


def test_a_model_is_measured_as_by_the_command_line(measured, tmp_path, capsys):
    folder, data = measured
    line = ["evaluate", str(folder), "--data", data, "--out", str(tmp_path / "typed")]
    assert main([*line, "--workers", "0", "--headings", "aligned"]) == 0
    jobs = []
    (record,) = crossview.evaluate(
        crossview.Model.open(folder), data, headings="aligned", out=tmp_path / "called",
        progress=lambda job, done, total: jobs.append((job, done, total)),
    )  # fmt: skip
    assert record.figures == Evaluation.read(tmp_path / "typed").figures
    assert Evaluation.read(tmp_path / "called").figures == record.figures
    assert jobs[-1] == ("embed", 48, 48)
    assert capsys.readouterr().out.count("crossview") <= 1


def test_numbers_and_lists_stand_for_the_texts_of_the_command_line(measured):
    folder, data = measured
    records = crossview.evaluate(folder, data, fov=[360, 90.0], seeds=2, corrupt="noise:5")
    assert [(r.protocol.fov_deg, r.protocol.corruption) for r in records][:2] == [
        (360.0, ""), (360.0, ""),
    ]  # fmt: skip
    assert {r.protocol.fov_deg for r in records} == {360.0, 90.0}
    assert {r.protocol.corruption for r in records} == {"", "noise 5"}


def test_a_representation_that_is_tried_leaves_the_model_as_it_was(measured):
    folder, data = measured
    model = crossview.Model.open(folder)
    other = {"narrow": "padded", "padded": "narrow"}[model.info.ground.representation]
    before = model.info
    with pytest.raises(InvalidValue, match="off-protocol"):
        crossview.evaluate(model, data, representation=other)
    (record,) = crossview.evaluate(model, data, representation=other, off_protocol=True)
    assert record.protocol.representation == other
    assert model.info is before


def test_an_unknown_model_is_refused_with_the_names(measured):
    with pytest.raises(UnknownName, match="town"):
        crossview.evaluate("twon", measured[1])
