"""A run folder: one training writes it, and a killed one leaves nothing that stops the next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tiny_pairs import write_pairs
from tests.training.tiny import PAGE

from crossview.cli import main
from crossview.errors import BadData, BadModel, InUse, InvalidValue
from crossview.locks import lock
from crossview.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
CONFIG, INFO = {"method": "mine", "data": "a"}, {"licence": "none"}
BEGUN_AND_KILLED = """
import os, signal, sys
from pathlib import Path
from crossview.training.run_folder import RunFolder
fatal, count = int(sys.argv[2]), 0

def or_die(call):
    def counted(*arguments):
        global count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)
    return counted

os.replace, os.fsync, Path.write_bytes = map(or_die, (os.replace, os.fsync, Path.write_bytes))
RunFolder(Path(sys.argv[1])).begin({"method": "mine", "data": "a"}, {"licence": "none"})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
@pytest.mark.parametrize("instant", range(1, 9))
def test_a_training_that_is_killed_while_it_begins_can_begin_again(tmp_path, instant):
    command = [sys.executable, "-c", BEGUN_AND_KILLED, str(tmp_path / "run"), str(instant)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    folder = RunFolder(tmp_path / "run")
    folder.require_new()
    assert folder.begin(CONFIG, INFO) is False
    assert {p.name for p in folder.path.iterdir()} == {"config.json", "info.json"}


def test_a_run_from_before_a_setting_was_there_goes_on_with_its_default(tmp_path):
    """A method's Config gains settings; what trained without them trained with their defaults."""
    folder, now = RunFolder(tmp_path / "run"), {"config": {"lr": 0.1, "schedule": "steps"}}
    folder.begin({"config": {"lr": 0.1}}, {})
    folder.state.touch()
    with pytest.raises(InvalidValue, match="schedule: None there, 'steps' now"):
        folder.begin(now, {})

    def renew(settings):
        return {"schedule": "steps", **settings}

    folder.begin(now, {}, renew=renew)
    with pytest.raises(InvalidValue, match="schedule: 'steps' there, 'loader' now"):
        folder.begin({"config": {"lr": 0.1, "schedule": "loader"}}, {}, renew=renew)


def test_what_a_killed_save_left_is_swept_when_the_training_goes_on(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(CONFIG, INFO)
    folder.log.write_text("")
    folder.state.write_bytes(b"")
    (folder.path / ".0123456789abcdef.partial.safetensors").write_bytes(b"half a state")
    (folder.path / "notes.partial").write_text("the owner's")
    assert folder.begin(CONFIG, INFO) is True
    names = {p.name for p in folder.path.iterdir()}
    assert names == {"config.json", "info.json", "log.jsonl", "state.safetensors", "notes.partial"}


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    (tmp_path / ".0123456789abcdef.partial.json").write_text("")
    with pytest.raises(InvalidValue, match="holds no training"):
        RunFolder(tmp_path).begin(CONFIG, INFO)
    with pytest.raises(InvalidValue, match="is not empty"):
        RunFolder(tmp_path).require_new()
    assert len(list(tmp_path.iterdir())) == 2


def test_system_files_in_a_folder_are_nothing_that_stops_a_training(tmp_path):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).touch()
    RunFolder(tmp_path).require_new()
    assert RunFolder(tmp_path).begin(CONFIG, INFO) is False


def test_a_torn_last_line_of_the_log_is_dropped_when_the_training_goes_on(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append({"step": 1, "loss": 2.0})
    folder.append({"step": 2, "loss": 1.0})
    with folder.log.open("a") as stream:
        stream.write('{"step": 3, "lo')
    assert folder.entries() == ([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], True)
    folder.forget_after(1)
    assert folder.log.read_text() == '{"step": 1, "loss": 2.0}\n'


def test_a_damaged_line_amid_the_log_is_named(tmp_path):
    RunFolder(tmp_path).log.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(BadData, match=r"log\.jsonl, line 2 is damaged"):
        RunFolder(tmp_path).forget_after(9)


def test_a_second_training_in_one_folder_is_refused(tmp_path):
    pairs = write_pairs(tmp_path / "data", 24)
    command = [
        sys.executable, "-m", "crossview", "train", "--method", ROOT / "docs/examples/mine.py",
        "--data", f"pairs:{pairs}", "--out", tmp_path / "run", "--config=width=4",
        "--config=aerial_px=16", "--config=ground_px=[8,32]", "--batch=4", "--steps=3",
        "--device=cpu", "--workers=0", "--quiet",
    ]  # fmt: skip
    with lock(tmp_path / "run", "crossview train"):
        second = subprocess.run(
            list(map(str, command)),
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert second.returncode == 1
    said = second.stderr.splitlines()
    assert (
        f"run is being written by another process: crossview train, process {os.getpid()}"
        in (said[0])
    )
    assert len(said) == 2
    assert not (tmp_path / "run").exists()


def test_training_by_hand_takes_the_lock_too(tmp_path):
    from types import SimpleNamespace

    from crossview.training.ranks import ALONE
    from crossview.training.session import fit

    command = (
        "import sys, time; from crossview.locks import lock\n"
        "with lock(sys.argv[1], 'crossview train'): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command, str(tmp_path / "run")], stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        other.stdout.readline()
        job = SimpleNamespace(ranks=ALONE)
        session = SimpleNamespace(folder=RunFolder(tmp_path / "run"), job=job)
        with pytest.raises(InUse):
            next(fit(session, SimpleNamespace()))
        other.kill()


@pytest.mark.parametrize("name", ["config.json", "info.json"])
def test_somebody_elses_file_of_the_same_name_is_not_overwritten(tmp_path, name):
    theirs = '{"app": "of another program"}'
    (tmp_path / name).write_text(theirs)
    with pytest.raises(InvalidValue):
        RunFolder(tmp_path).require_new()
    with pytest.raises(InvalidValue):
        RunFolder(tmp_path).begin(CONFIG, INFO)
    assert (tmp_path / name).read_text() == theirs
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "1", '"x"', "[" * 100_000])
def test_a_config_that_is_no_object_is_named(tmp_path, content):
    folder = RunFolder(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadModel, match=r"config\.json"):
        folder.config()


@pytest.mark.parametrize("step", ['"x"', "null", "[]"])
def test_a_log_whose_step_is_no_number_is_named(tmp_path, step):
    RunFolder(tmp_path).log.write_text(f'{{"step": {step}}}\n')
    with pytest.raises(BadData, match=r"log\.jsonl is damaged: a step is no number"):
        RunFolder(tmp_path).forget_after(3)


FULL = """
import resource, sys
import torch
from pathlib import Path
from crossview.errors import CannotWrite
from crossview.training.train_state import save_weights
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    save_weights({"w": torch.zeros(10000)}, Path(sys.argv[1]) / "model.safetensors")
except CannotWrite as problem:
    print(problem)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes")
def test_weights_that_the_disk_does_not_take_are_told_and_leave_nothing(tmp_path):
    line = [sys.executable, "-c", FULL, str(tmp_path)]
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "model.safetensors: the disk is full" in told.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_too_narrow_for_a_network_is_refused_in_words(tmp_path, capsys):
    data = write_pairs(tmp_path / "data", 8, extra={"split": "train"})
    sizes = ("--config=width=4", "--config=aerial_px=16", "--config=ground_px=[8,32]")
    common = ["--data", f"pairs:{data}", "--method", str(PAGE), "--quiet", "--threads", "1"]
    train = ["train", *common, *sizes, "--batch=4", "--steps=1", "--workers=0", "--device=cpu"]
    assert main([*train, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    ask = ["evaluate", str(tmp_path / "run"), *common, "--split", "train", "--fov"]
    assert main([*ask, "10"]) == 2
    said = capsys.readouterr().err
    assert "cannot take a ground picture of 1 of 32 columns" in said
    assert "fault of crossview" not in said
