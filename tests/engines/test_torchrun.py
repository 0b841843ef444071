"""The real torchrun over two ranks: one is killed, torchrun starts them again, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.tiny_pairs import write_pairs

from crossview.training.train_state import read_saved_step

PAGE = Path(__file__).parents[1] / "training" / "halves_page.py"
STEPS, KILLED_AFTER = 80, 30
LIMIT_S = 900.0

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="ranks are found in /proc")


def torchrun(folder, out, *more, restarts=0):
    """The training as a process of torchrun, and what it says in a file."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(f"--max-restarts={restarts}", "-m", "crossview", "train", f"--method={PAGE}"),
        *(f"--data=pairs:{folder}/data/pairs.csv", f"--out={folder / out}", "--device=cpu"),
        *("--workers=1", "--val-share=0", "--save-every=20", f"--steps={STEPS}", "--batch=18"),
        *("--config=dropout=0.3", "--config=refresh_epochs=1", "--config=ema_decay=0.9", *more),
    ]
    with (folder / f"{out}.txt").open("w") as said:
        return subprocess.Popen(command, stdout=said, stderr=said)


def find_rank(parent, rank):
    """The process of a rank that a launcher has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(state[1]) == parent and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    return None


def wait_for_step(folder, out, step):
    log, until = folder / out / "log.jsonl", time.monotonic() + LIMIT_S
    while not log.is_file() or log.read_text().count("\n") < step:
        assert time.monotonic() < until, (folder / f"{out}.txt").read_text()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchrun")
    write_pairs(folder / "data", 72)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    assert torchrun(folder, "whole").wait(LIMIT_S) == 0, (folder / "whole.txt").read_text()
    return folder / "whole"


def log_steps(run):
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_started_again_and_the_weights_are_those_of_an_unkilled_run(
    folder, whole, rank
):
    out = f"killed{rank}"
    process = torchrun(folder, out, restarts=1)
    wait_for_step(folder, out, KILLED_AFTER)
    killed = find_rank(process.pid, rank)
    os.kill(killed, signal.SIGKILL)
    assert process.wait(LIMIT_S) == 0, (folder / f"{out}.txt").read_text()
    assert "Continuing the training" in (folder / f"{out}.txt").read_text()
    for name in ("state.safetensors", "model.safetensors"):
        assert (folder / out / name).read_bytes() == (whole / name).read_bytes()
    assert log_steps(folder / out) == list(range(1, STEPS + 1))


def test_torchrun_that_is_asked_to_stop_has_saved_the_step_and_goes_on(folder, whole):
    process = torchrun(folder, "stopped")
    wait_for_step(folder, "stopped", KILLED_AFTER)
    process.terminate()
    assert process.wait(LIMIT_S) != 0
    saved = read_saved_step(folder / "stopped" / "state.safetensors")
    assert KILLED_AFTER <= saved < STEPS
    assert saved == log_steps(folder / "stopped")[-1]
    assert torchrun(folder, "stopped").wait(LIMIT_S) == 0
    name = "state.safetensors"
    assert (folder / "stopped" / name).read_bytes() == (whole / name).read_bytes()
