from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from tests.tiny_pairs import write_pairs

from crossview.errors import BadData, InvalidValue, UnknownName
from crossview.wiring import METHODS, make_config, method_page, open_data


@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    steps: int = 3
    amp: bool = True
    name: str = "none"
    size: tuple[int, int] = (1, 2)


PAGE = SimpleNamespace(Config=Config)


def test_settings_from_the_command_line_take_the_type_of_the_default():
    given = {"lr": "1", "steps": "9", "amp": "False", "name": "7", "size": "[3, 4]"}
    assert make_config(PAGE, given) == Config(lr=1.0, steps=9, amp=False, name="7", size=(3, 4))


@pytest.mark.parametrize(
    ("name", "text"),
    [("steps", "2.5"), ("steps", "many"), ("amp", "1"), ("lr", "fast"), ("size", "3")],
)
def test_a_value_of_another_type_is_refused_with_an_example(name, text):
    with pytest.raises(InvalidValue, match=f"setting {name} is '{text}'; expected a value like"):
        make_config(PAGE, {name: text})


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


def test_pairs_of_the_embedded_world_stay_marked_whatever_door_they_come_through(tmp_path):
    csv = write_pairs(tmp_path, 3)
    csv.with_suffix(".made-by.txt").write_text("synthetic towns, version 1a2b3c4d: ...")
    info = open_data(f"pairs:{csv}").info
    assert info["synthetic"] is True
    assert info["training_data"].startswith("synthetic towns, version 1a2b3c4d")
    assert info["licence"].startswith("Apache-2.0")
