import json
import struct

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from crossview.datasets.pair_lists import load
from crossview.errors import BadData

COLUMNS = {
    "ground": ["g0.jpg", "g0.jpg", "g1.jpg"],
    "aerial": ["a0.jpg", "a1.jpg", "a1.jpg"],
    "split": ["test"] * 3,
    "relation": ["match", "ignore", "match"],
    "metres_per_px": [0.5, 0.25, 0.25],
}


def written(path, columns, geo=None):
    table = pa.table(columns)
    if geo is not None:
        table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    parquet.write_table(table, path)
    return path


def point(x, y, order="<"):
    return struct.pack(f"{order}BI2d", order == "<", 1, x, y)


def geo(**about):
    return {"version": "1.1.0", "primary_column": "geometry", "columns": about}


def refusal(path):
    with pytest.raises(BadData) as caught:
        load(path)
    return str(caught.value)


def same(one, two):
    arrays = ("pairs", "ignored", "metres_per_px", "ground_latlon", "heading_deg")
    return one.ground == two.ground and all(
        np.array_equal(getattr(one, n), getattr(two, n), equal_nan=True) for n in arrays
    )


def test_parquet_and_csv_of_the_same_rows_are_the_same_table(tmp_path):
    columns = {**COLUMNS, "ground_lat": [60.1, 60.1, None], "ground_lon": [24.9, 24.9, None]}
    one = load(written(tmp_path / "pairs.parquet", columns))["test"]
    rows = [",".join("" if v is None else str(v) for v in row) for row in zip(*columns.values())]  # noqa: B905
    (tmp_path / "pairs.csv").write_text("\n".join([",".join(columns), *rows]))
    two = load(tmp_path / "pairs.csv")["test"]
    assert same(one, two)
    assert one.pairs.tolist() == [[0, 0], [1, 1]]
    assert one.ignored.tolist() == [[0, 1]]
    assert one.aerial_ids() == ("a0.jpg", "a1.jpg")


@pytest.mark.parametrize("name", ["geometry", "ground_geometry"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_points_of_geoparquet_are_the_places(tmp_path, name, order):
    points = [point(24.9, 60.1, order), point(24.9, 60.1, order), None]
    path = written(tmp_path / "pairs.parquet", {**COLUMNS, name: points}, geo())
    table = load(path)["test"]
    assert table.ground_latlon[0] == pytest.approx([60.1, 24.9], abs=1e-9)
    assert np.isnan(table.ground_latlon[1]).all()


def test_points_in_metres_become_degrees(tmp_path):
    import pyproj

    about = {"encoding": "WKB", "crs": pyproj.CRS("EPSG:25833").to_json_dict()}
    points = [point(392_000.0, 5_820_000.0)] + [point(391_000.0, 5_820_000.0)] * 2
    columns = {**COLUMNS, "aerial_geometry": points}
    table = load(written(tmp_path / "p.parquet", columns, geo(aerial_geometry=about)))["test"]
    assert table.aerial_latlon[0] == pytest.approx([52.52, 13.41], abs=0.01)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"encoding": "point"}, "geometry is encoded as point; expected WKB"),
        ({"encoding": "WKB", "crs": None}, "geometry has no reference system"),
    ],
)
def test_geometries_that_cannot_be_used_are_refused(tmp_path, about, said):
    columns = {**COLUMNS, "geometry": [point(24.9, 60.1)] * 3}
    assert said in refusal(written(tmp_path / "p.parquet", columns, geo(geometry=about)))


@pytest.mark.parametrize(
    "about",
    [{"crs": "EPSG:999999"}, {"crs": 5}, {"crs": {"type": "nonsense"}}, {"encoding": None}, None],
)
def test_what_a_file_says_of_its_geometry_is_used_or_refused_in_words(tmp_path, about):
    columns = {**COLUMNS, "geometry": [point(24.9, 60.1)] * 3}
    said = refusal(written(tmp_path / "p.parquet", columns, geo(geometry=about)))
    assert "p.parquet" in said
    assert len(said.splitlines()) <= 3


@pytest.mark.parametrize("values", [[1, 2, 3], ["POINT (1 2)"] * 3, [b"", b"x", b"y"], [1.5] * 3])
def test_a_geometry_that_is_not_binary_is_not_a_point(tmp_path, values):
    said = refusal(written(tmp_path / "p.parquet", {**COLUMNS, "geometry": values}))
    assert "row 1: geometry is not a point" in said


def test_points_of_a_datum_that_proj_copies_are_reported_with_the_metres(tmp_path, caplog):
    columns = {**COLUMNS, "geometry": [point(-81.0, 44.0)] * 3}
    for crs, told in (("EPSG:4608", True), ("EPSG:4326", False)):  # NAD27(76): no shift is known
        caplog.clear()
        load(written(tmp_path / "p.parquet", columns, geo(geometry={"crs": crs})))
        assert ("knows no datum shift" in caplog.text) is told


def test_names_of_columns_and_texts_are_read_as_in_a_list(tmp_path):
    columns = {f" {name.upper()} ": values for name, values in COLUMNS.items()}
    columns[" GROUND "] = [name.encode() for name in COLUMNS["ground"]]
    ours = load(written(tmp_path / "one.parquet", columns))["test"]
    assert same(ours, load(written(tmp_path / "two.parquet", COLUMNS))["test"])
    both = {**COLUMNS, "Ground": COLUMNS["ground"]}
    assert "column ground is there twice" in refusal(written(tmp_path / "both.parquet", both))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("metres_per_px", [0.5, 0.5, 0.75]),
        ("heading_deg", [1.0, 1.0, None]),
        ("kind", ["panorama", "panorama", "perspective"]),
    ],
)
def test_facts_of_a_picture_are_the_same_in_all_splits(tmp_path, column, values):
    columns = {
        **COLUMNS, "ground": ["g", "h", "g"], "aerial": ["a", "b", "a"],
        "split": ["val", "val", "test"], "relation": ["match"] * 3,
        "metres_per_px": [0.5, 0.5, 0.5], column: values,
    }  # fmt: skip
    path = written(tmp_path / "p.parquet", columns)
    assert f"row 3: {column} of " in refusal(path)
    assert "is nan" not in refusal(path)


def test_a_line_is_not_a_point_and_a_picture_has_one_place(tmp_path):
    line = struct.pack("<BIIdddd", 1, 2, 2, 0, 0, 1, 1)
    columns = {**COLUMNS, "geometry": [point(1, 2), line, line]}
    assert "row 2: geometry is not a point" in refusal(written(tmp_path / "p.parquet", columns))
    columns = {**COLUMNS, "geometry": [point(1, 2)] * 3, "ground_lat": [1.0] * 3}
    assert "both say where" in refusal(written(tmp_path / "p.parquet", columns))


def test_errors_name_the_row_of_the_file(tmp_path):
    places = {"ground_lat": [1.0, 1.0, 95.0], "ground_lon": [1.0, 1.0, 1.0]}
    path = written(tmp_path / "p.parquet", {**COLUMNS, **places})
    assert f"{path}, row 3: ground_lat is '95.0'" in refusal(path)
    path.write_bytes(b"no parquet")
    assert "cannot be read as Parquet" in refusal(path)
    assert "No table of pairs at" in refusal(tmp_path / "absent.parquet")


def test_half_a_place_is_refused(tmp_path):
    path = written(tmp_path / "p.parquet", {**COLUMNS, "ground_lat": [1.0, 1.0, 2.0]})
    assert "row 1: ground_lat and ground_lon go together; one is empty" in refusal(path)


def test_a_relation_that_comes_twice_is_refused(tmp_path):
    columns = {name: [*values, values[0]] for name, values in COLUMNS.items()}
    assert "row 4: g0.jpg and a0.jpg are listed twice" in refusal(
        written(tmp_path / "p.parquet", columns)
    )


def test_a_picture_to_train_on_is_none_to_measure_on(tmp_path):
    columns = {**COLUMNS, "split": ["train", "train", "test"], "ground": ["g", "g", "g"]}
    said = refusal(written(tmp_path / "p.parquet", columns))
    assert "g is in split train and in split test (1 such pictures)" in said
