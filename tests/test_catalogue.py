import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from tests.tiny_pairs import write_pairs

from crossview.catalogue import (
    METHODS,
    benchmark,
    data_name,
    find_published,
    make_config,
    method_name,
    method_page,
    open_data,
    open_parts,
    open_run,
    recipe,
    recipes,
    rules,
    setting_names,
)
from crossview.errors import BadData, BadModel, InvalidValue, UnknownName
from crossview.worlds.town_pairs import OVER_EARTH, TownPlan, ensure_pairs
from crossview.worlds.write import PhotoSeries, write_world


@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    steps: int = 3
    amp: bool = True
    name: str = "none"
    size: tuple[int, int] = (1, 2)
    widths: tuple[float, ...] = (1.0,)
    limit: int | None = None
    mode: Literal["a", "b"] = "a"


PAGE = SimpleNamespace(Config=Config)


def test_settings_from_the_command_line_take_the_type_of_their_field():
    texts = {"lr": "1", "steps": "9", "amp": "False", "name": "7", "size": "[3, 4]"}
    assert make_config(PAGE, texts) == Config(lr=1.0, steps=9, amp=False, name="7", size=(3, 4))
    texts = {"widths": "[1, 2.5, 3]", "limit": "5", "mode": "b"}
    assert make_config(PAGE, texts) == Config(widths=(1.0, 2.5, 3.0), limit=5, mode="b")
    assert make_config(PAGE, {"limit": "null"}).limit is None


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("steps", "2.5", "a whole number.\nGive a value like 3."),
        ("steps", "many", "a whole number."),
        ("steps", "true", "a whole number."),
        ("amp", "1", "true or false."),
        ("lr", "fast", "a number."),
        ("size", "3", "a list of 2 whole numbers.\nGive a value like [1, 2]."),
        ("size", "[3]", "a list of 2 whole numbers."),
        ("size", "[3, 4, 5]", "a list of 2 whole numbers."),
        ("size", '["3", "4"]', "a list of 2 whole numbers."),
        ("size", "[3.0, 4.5]", "a list of 2 whole numbers."),
        ("widths", "[1, null]", "a list of numbers."),
        ("limit", "soon", "a whole number or null."),
        ("limit", "2.5", "a whole number or null."),
        ("mode", "c", '"a" or "b".'),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_type_and_an_example(name, text, expected):
    with pytest.raises(InvalidValue) as refused:
        make_config(PAGE, {name: text})
    assert f"Setting {name} is {text!r}; expected {expected}" in str(refused.value)


def test_unknown_names_get_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'steps'"):
        make_config(PAGE, {"step": "1"})
    with pytest.raises(UnknownName, match="Did you mean 'sample4geo'"):
        method_page("sample4go")
    with pytest.raises(UnknownName, match="Did you mean 'pairs'"):
        open_data("pair:x")


def test_every_method_of_the_catalogue_can_be_loaded():
    assert all(method_page(name).load().Config for name in METHODS)


def test_a_page_is_found_by_its_path(tmp_path):
    page = tmp_path / "my page.py"
    page.write_text("answer = 42")
    assert method_page(str(page)).load().answer == 42
    with pytest.raises(InvalidValue, match="No method page at"):
        method_page(str(tmp_path / "absent.py"))


@pytest.mark.parametrize("form", ["pairs:{0}", "{0}", "pairs:{1}"])
def test_pairs_are_named_by_file_or_folder(tmp_path, form):
    csv = write_pairs(tmp_path / "my: data", 3)
    assert len(open_data(form.format(csv, csv.parent)).tables["train"]) == 3


def test_facts_beside_the_pairs_travel_with_them(tmp_path):
    csv = write_pairs(tmp_path, 3)
    assert open_data(str(csv)).info == {"training_data": "pairs: pairs.csv", "synthetic": False}
    csv.with_suffix(".json").write_text('{"licence": "CC0", "synthetic": true}')
    info = open_data(str(csv)).info
    assert (info["licence"], info["synthetic"]) == ("CC0", True)
    csv.with_suffix(".json").write_text('{"license": "CC0"}')
    with pytest.raises(BadData, match="expected an object with some of synthetic"):
        open_data(str(csv))


def test_pairs_drawn_over_orthophotos_are_of_earth_and_their_owners_licences_apply(tmp_path):
    csv = write_pairs(tmp_path, 3)
    csv.with_suffix(".made-by.txt").write_text(f"{OVER_EARTH}orthophotos, version 1a2b3c4d: ...")
    info = open_data(f"pairs:{csv}").info
    assert info["synthetic"] is False
    assert info["training_data"].startswith("worlds from orthophotos, version 1a2b3c4d")
    assert "owners' licences apply" in info["licence"]


def test_pairs_of_the_embedded_world_stay_marked_whatever_door_they_come_through(tmp_path):
    csv = write_pairs(tmp_path, 3)
    csv.with_suffix(".made-by.txt").write_text("synthetic towns, version 1a2b3c4d: ...")
    info = open_data(f"pairs:{csv}").info
    assert info["synthetic"] is True
    assert info["training_data"].startswith("synthetic towns, version 1a2b3c4d")
    assert info["licence"].startswith("Apache-2.0")


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A small town of ``crossview world``: no note lies beside it that a list would find."""
    folder = tmp_path_factory.mktemp("town")
    write_world(
        folder, "suburb", 20_003, side_m=240.0, series=(PhotoSeries(2), PhotoSeries(2, 90.0))
    )
    return folder


def listed(path, ground, aerial):
    """A list of pairs somewhere else than its pictures."""
    rows = [f"{g},{a},train,match,0.4" for g, a in zip(ground, aerial, strict=True)]
    head = "ground,aerial,split,relation,metres_per_px"
    path.write_text("\n".join([head, *rows]), encoding="utf-8")
    return open_data(f"pairs:{path}").info


def pictures(folder, count, mark=None):
    """Pictures of no origin, or saved with a piece of metadata."""
    made = []
    for n in range(count):
        made.append(folder / f"{n}{'.tif' if mark else '.png'}")
        Image.new("RGB", (64, 32), (n, 0, 0)).save(made[-1], tiffinfo=mark or {})
    return made


def test_photos_of_a_town_say_so_themselves_wherever_their_list_lies(town, tmp_path):
    ground = sorted((town / "ground").glob("*.jpg"))
    info = listed(tmp_path / "mine.csv", ground, pictures(tmp_path, len(ground)))
    assert info["synthetic"] is True
    assert "rendered pictures among them: 100%" in info["notes"]


def test_so_do_aerial_pictures_cut_from_a_town_s_map(town, tmp_path):
    (tmp_path / "cut").mkdir()
    ground = pictures(tmp_path, 2)
    with Image.open(town / "aerial.tif") as whole:
        tags = {number: whole.tag_v2[number] for number in (42112, 33432)}
    for mark in tags.items():
        aerial = pictures(tmp_path / "cut", 2, dict([mark]))
        assert listed(tmp_path / "mine.csv", ground, aerial)["synthetic"] is True


def test_rendered_pairs_say_so_when_their_list_is_copied_elsewhere(tmp_path):
    plan = TownPlan(("suburb",), 1, 2, 1, side_m=320.0)
    rendered = ensure_pairs(tmp_path / "town-data", plan, workers=1)
    table = open_data(f"pairs:{rendered}").tables["train"]
    rendered.with_suffix(".made-by.txt").unlink()  # only the pictures' own metadata are left
    info = listed(tmp_path / "copy.csv", table.ground, table.aerial)
    assert info["synthetic"] is True


def test_a_few_rendered_pictures_among_others_are_told_and_no_less(town, tmp_path):
    rendered = sorted((town / "ground").glob("*.jpg"))[:1]
    ground = [*rendered, *pictures(tmp_path, 3)]
    (tmp_path / "above").mkdir()
    info = listed(tmp_path / "mine.csv", ground, pictures(tmp_path / "above", 4))
    assert info["synthetic"] is False
    assert "rendered pictures among them: 25%" in info["notes"]


def test_pictures_half_of_which_are_rendered_are_no_pictures_of_earth(town, tmp_path):
    ground = [*sorted((town / "ground").glob("*.jpg"))[:2], *pictures(tmp_path, 2)]
    (tmp_path / "above").mkdir()
    info = listed(tmp_path / "mine.csv", ground, pictures(tmp_path / "above", 4))
    assert info["synthetic"] is True


def test_what_a_list_claims_does_not_outweigh_its_pictures(town, tmp_path):
    (tmp_path / "mine.json").write_text('{"synthetic": false, "notes": "mine"}')
    ground = sorted((town / "ground").glob("*.jpg"))
    info = listed(tmp_path / "mine.csv", ground, pictures(tmp_path, len(ground)))
    assert info["synthetic"] is True
    assert info["notes"].startswith("mine; ")


def test_names_are_the_same_in_upper_and_lower_case(tmp_path):
    csv = write_pairs(tmp_path, 3)
    assert open_data(f"Pairs:{csv}").name == f"pairs:{csv}"
    assert method_name("GeoDTR-Plus") == "geodtr-plus"
    assert method_page("SAFA").load() is method_page("safa").load()
    assert benchmark("VIGOR-Same").name == "vigor-same"
    assert data_name("CVUSA:/Data/CVUSA") == "cvusa:/Data/CVUSA"
    assert data_name(str(csv)) == str(csv)
    assert recipe("geodtr-plus", "CVACT-Plain") == recipes("geodtr-plus")["cvact-plain"]
    assert (
        find_published("singeo", "University-1652-Drone-To-Street:x")
        == recipes("singeo")["university"]
    )
    assert find_published("safa", "university-1652") is None
    assert rules("VIGOR-cross:x").near_counts
    with pytest.raises(UnknownName, match="Known: cvact, cvact-plain, cvusa, cvusa-plain, vigor"):
        recipe("geodtr-plus", "nowhere")


@pytest.mark.parametrize("method", METHODS)
def test_recipes_leave_to_data_sets_what_pictures_span(method):
    for settings in recipes(method).values():
        assert not {"footprint_m", "elevation_deg", "keep_rows"} & set(settings)
        assert settings.get("whole") is (True if "whole" in setting_names(method) else None)


@pytest.mark.parametrize(
    "config",
    [
        {"method": 5, "config": {}, "data": "x"},
        {"method": "safa", "config": [], "data": "x"},
        {"method": "safa", "config": {}, "data": None},
    ],
)
def test_a_config_whose_values_are_of_another_kind_is_named(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match=r"config\.json is damaged: (method|config|data): Input"):
        open_run(tmp_path)


def test_a_folder_whose_config_is_of_something_else_is_no_run(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "my web application"}')
    with pytest.raises(BadModel, match="lacks method, config, data"):
        open_run(tmp_path)


def test_lists_are_joined_as_parts_and_by_commas_as_one(tmp_path):
    lists = []
    for name, count in (("a", 3), ("b", 4), ("c", 5)):
        (tmp_path / name).mkdir()
        lists.append(write_pairs(tmp_path / name, count))
    first, *rest = map(str, lists)
    joined = open_parts([f"pairs:{first}", f"pairs:{','.join(rest)}"])
    table = joined.tables["train"]
    assert joined.name == f"pairs:{first} + pairs:{','.join(rest)}"
    alone = [open_data(f"pairs:{one}").tables["train"] for one in lists]
    assert [len(rows) for rows in table.list_parts()] == [len(alone[0]), sum(map(len, alone[1:]))]
    for rows, one in zip(np.split(np.arange(len(table)), [3, 7]), alone, strict=True):
        again = table.take(rows)
        assert (again.ground, again.aerial) == (one.ground, one.aerial)
        np.testing.assert_array_equal(again.pairs, one.pairs)
        np.testing.assert_array_equal(again.ground_latlon, one.ground_latlon)
    assert not joined.info["synthetic"]
    assert len(open_parts([f"pairs:{first}"]).tables["train"].list_parts()) == 1


def test_lists_that_frame_their_pictures_otherwise_are_not_joined(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        write_pairs(tmp_path / name, 2)
    (tmp_path / "b" / "pairs.json").write_text('{"keep_rows": [0.25, 0.75]}')
    with pytest.raises(BadData, match="cannot be joined"):
        open_parts([f"pairs:{tmp_path / name}" for name in "ab"])
