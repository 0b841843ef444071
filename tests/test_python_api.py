"""The Python API as docs/python-api.md shows it: run as it stands, and compared with the code."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import indexed
from tests.outputs.fakes import photo_pixels
from tests.tiny_pairs import write_pairs
from tests.toy_model import toy_model

import crossview
from crossview.assessment import AssessmentValues
from crossview.index.index_options import BuildValues
from crossview.localization.hints import HintValues
from crossview.model import open_model

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "python-api.md").read_text(encoding="utf-8")
KEYWORDS = {"locate": HintValues, "build_index": BuildValues, "evaluate": AssessmentValues}


def test_every_block_of_the_page_runs(tmp_path, monkeypatch, capsys):
    folder = toy_model(tmp_path / "model", fov_seen_deg=(360.0, 360.0))
    indexed(tmp_path, embedder=open_model(folder), model_name=str(folder), stride_m=20.0)
    write_pairs(tmp_path)
    for seed, name in enumerate(["photo.jpg", "other.jpg"]):
        Image.fromarray(photo_pixels(seed)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    said = capsys.readouterr().out
    assert "missing.jpg: no such file." in said
    assert "recall_at_10" in said
    assert names["left_out"] == []
    assert all((tmp_path / f"places.{kind}").is_file() for kind in ("jsonl", "geojson", "kml"))
    assert (tmp_path / "map.html").stat().st_size > 200_000
    assert np.isfinite(names["answers"][0].error_m)
    assert names["coarse"].count < names["index"].count
    assert (tmp_path / "evaluation" / "evaluation.json").is_file()


def test_the_page_has_a_section_for_every_public_name():
    sections = set(re.findall(r"^## `crossview\.(\w+)`$", PAGE, re.MULTILINE))
    assert sections == set(crossview.__all__) - {"__version__"}


@pytest.mark.parametrize("name", KEYWORDS)
def test_a_section_s_table_has_the_keywords_of_the_function(name):
    section = PAGE.split(f"## `crossview.{name}`\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    documented = {word for cell in listed for word in re.findall(r"`(\w+)`", cell)}
    parameters = inspect.signature(getattr(crossview, name)).parameters.values()
    explicit = {each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD}
    in_words = {"index", "photo"} if name == "locate" else set()
    assert documented == (explicit - in_words) | set(KEYWORDS[name].__annotations__)
