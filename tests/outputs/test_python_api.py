"""The Python API as docs/python-api.md shows it, run as it stands."""

import re
from pathlib import Path

import numpy as np
from PIL import Image
from tests.index.regions import indexed
from tests.outputs.fakes import photo_pixels
from tests.toy_model import toy_model

from crossview.model.onnx import open_model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-api.md"


def test_every_block_of_the_page_runs(tmp_path, monkeypatch, capsys):
    folder = toy_model(tmp_path / "model")
    indexed(tmp_path, embedder=open_model(folder), model_name=str(folder), stride_m=20.0)
    for seed, name in enumerate(["photo.jpg", "other.jpg"]):
        Image.fromarray(photo_pixels(seed)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    said = capsys.readouterr().out
    assert "missing.jpg: no such file." in said
    assert "recall_at_10" in said
    assert names["left_out"] == []
    assert all((tmp_path / f"places.{kind}").is_file() for kind in ("jsonl", "geojson", "kml"))
    assert (tmp_path / "map.html").stat().st_size > 200_000
    assert np.isfinite(names["answers"][0].error_m)
