"""No damaged file of any kind ends in a traceback, a hang, a swollen process or another answer.

Half a minute of it here; ``python -m tests.fuzz --inputs 2500`` at length, as in docs/security.md.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.mutators import damage

ROOT = Path(__file__).resolve().parents[2]
SECONDS_OF_EACH, INPUTS = 1.0, 40


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="no /proc to measure memory in",
)
def test_damaged_files_are_read_right_or_refused_in_our_words(tmp_path):
    out = tmp_path / "tallies.jsonl"
    command = [sys.executable, "-m", "tests.fuzz", "--out", out, "--inputs", str(INPUTS)]
    places = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "--seconds", str(SECONDS_OF_EACH)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": places}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    tallies = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(tallies) >= 22
    for tally in tallies:
        assert tally["inputs"] > 0, tally["kind"]
        assert tally["faults"] == {}
    assert sum(tally["refused"] for tally in tallies) > 100


def test_damage_depends_on_the_seed_alone():
    data = json.dumps({"a": [1, 2, 3], "b": "text"}).encode() * 5
    for name in ("x.json", "x.npz", "x.csv", "x.mat", "x.mbtiles", "x.jpg", "x.safetensors"):
        made = [damage(name, data, random.Random(f"{name} {n}")) for n in range(30)]
        assert made == [damage(name, data, random.Random(f"{name} {n}")) for n in range(30)]
        assert sum(one != data for one in made) > 20
