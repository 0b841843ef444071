"""No runtime tells anybody, or keeps anything, of who runs which network."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import time
from crossview.evaluation.fast_scores import make_product
from crossview.model import open_model
open_model("town")
make_product()
time.sleep(0.5)
"""


def test_a_run_leaves_no_number_of_the_machine_and_no_list_of_events(tmp_path):
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | folders
    subprocess.run([sys.executable, "-c", RUN], env=environment, cwd=ROOT, check=True)
    assert [path.name for path in tmp_path.rglob("*") if "icrosoft" in path.name] == []
    assert list(tmp_path.rglob("*.ses")) == []


def test_openvino_is_loaded_without_what_reports_its_use(tmp_path):
    pytest.importorskip("openvino", reason="needs the package openvino")
    run = """
import sys
from crossview.model import Model
import numpy as np
model = Model.open("town", runtime="openvino")
model.aerial(np.zeros((1, 48, 240, 3), np.uint8))
assert "openvino" in sys.modules and "openvino_telemetry" not in sys.modules
import openvino_telemetry  # for others it is there
"""
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", run], env=os.environ | folders, cwd=ROOT, check=True)
    assert [*tmp_path.iterdir()] == []


def test_the_package_loads_onnxruntime_in_one_place():
    found = [
        path.name
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(a.name == "onnxruntime" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onnxruntime"))
    ]
    assert {*found} == {"runtime.py"}
