"""A training that was stopped, however rudely, ends with the same bits as one that was not."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.tiny import PAGE, command, request, trained

from crossview.catalogue import open_data
from crossview.errors import CannotWrite, InvalidValue
from crossview.pairs.page_ref import PageRef
from crossview.training.run_folder import digest_names
from crossview.training.session import prepare


def weights(folder):
    return (folder / "model.safetensors").read_bytes(), (folder / "state.safetensors").read_bytes()


@pytest.mark.parametrize("stop_after", [1, 3, 5, 7])
def test_leaving_after_any_step_changes_nothing(tmp_path, stop_after):
    whole = request(tmp_path, out="whole", ema_decay=0.9)
    trained(whole)
    left = replace(whole, out=tmp_path / f"left{stop_after}")
    trained(left, stop_after)
    trained(left)
    assert weights(whole.out) == weights(left.out)
    assert log_steps(left.out) == log_steps(whole.out) == list(range(1, 9))


def test_a_schedule_can_be_ended_early_and_gone_on_with(tmp_path):
    whole = request(tmp_path, out="whole")
    trained(whole)
    early = replace(whole, out=tmp_path / "early", until=5)
    trained(early)
    trained(early)
    assert log_steps(early.out) == [1, 2, 3, 4, 5]
    trained(replace(early, until=0))
    assert weights(whole.out) == weights(early.out)


def test_what_a_stage_was_validated_with_stays_in_the_log_of_the_next(tmp_path):
    stage = request(tmp_path, out="run", until=5, val_share=0.25)
    trained(stage)
    first = log_lines(stage.out)
    assert first[-1][1] is not None  # the last line is a validation
    trained(replace(stage, until=0))
    assert log_lines(stage.out)[: len(first)] == first


@pytest.mark.parametrize("every", [0, 2, 3])
@pytest.mark.parametrize("stop_after", range(1, 13))
def test_every_validation_stands_in_the_log_once(tmp_path, stop_after, every):
    """Also where the training was left between a save and its validation, or after it."""
    settings = {"val_share": 0.25, "save_every": 1, "validate_every": every}
    whole = request(tmp_path, out="whole", **settings)
    trained(whole)
    left = replace(whole, out=tmp_path / "left")
    trained(left, stop_after)
    trained(left)
    trained(left)  # it is finished: nothing is added
    assert log_lines(left.out) == log_lines(whole.out)


def log_lines(folder):
    """Each line's step, and what was validated there."""
    entries = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [(entry["step"], entry.get("validation")) for entry in entries]


def log_steps(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_killed_process_goes_on_to_the_same_weights(tmp_path):
    """kill -9 while it trains, twice, at whatever instant; then to the end."""
    whole = request(tmp_path, out="whole", steps=60, save_every=2)
    trained(whole)
    killed = replace(whole, out=tmp_path / "killed")
    line = command(killed, "--steps", "60", "--save-every", "2", "--workers", "1", "--quiet")
    for reached in (5, 30):
        run_until(line, killed.out, reached).send_signal(signal.SIGKILL)
    subprocess.run(line, check=True, env=one_thread())
    assert weights(whole.out) == weights(killed.out)


def run_until(line, folder, lines):
    """Start the command and wait until its log has some lines; slow machines get minutes."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, env=one_thread())
    log = folder / "log.jsonl"
    for _ in range(4000):
        if (log.is_file() and log.read_bytes().count(b"\n") >= lines) or process.poll() is not None:
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError("the training did not start")


def one_thread():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_asked_to_end_it_saves_the_step_under_way(tmp_path):
    asked = request(tmp_path, steps=4000, save_every=100_000)
    line = command(asked, "--steps", "4000", "--save-every", "100000", "--workers", "0")
    process = run_until(line, asked.out, 3)
    process.terminate()
    assert process.wait(timeout=200) == 128 + signal.SIGTERM
    assert (asked.out / "state.safetensors").is_file()


def test_other_settings_are_refused_and_both_are_shown(tmp_path):
    first = request(tmp_path)
    trained(first)
    with pytest.raises(InvalidValue, match=r"config.lr: 0.001 there, 0.5 now"):
        trained(request(tmp_path, lr=0.5))


def test_other_pairs_are_refused(tmp_path):
    trained(request(tmp_path))
    csv = tmp_path / "data" / "pairs.csv"
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InvalidValue, match=r"train.rows: 24 there, 23 now"):
        trained(request(tmp_path))


def edited(folder, change):
    """Change every row of the pairs."""
    path = folder / "data" / "pairs.csv"
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    rows = [row | change(n) for n, row in enumerate(rows)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


GROUND, AERIAL = "of 24 of 24 ground pictures, the first g0.png", "of 24 of 24 aerial pictures, the"
ONE = "of 1 of 24 ground pictures, the first"
CHANGES = {
    f"ground_latlon {GROUND}: 60, 10 then, 60, 11 now": lambda n: {"ground_lon": 11},
    f"heading_deg {GROUND}: 0 then, 90 now": lambda n: {"heading_deg": 90},
    f"heading_deg {ONE} g7.png: 0 then, nan now": lambda n: {"heading_deg": "" if n == 7 else 0},
    f"metres_per_px {AERIAL} first a0.png: 1.25 then, 2 now": lambda n: {"metres_per_px": 2},
    f"perspective {ONE} g3.png: 0 then, 1 now": lambda n: {"fov_deg": 60 if n == 3 else 360},
    "ground pictures: 1 gone, the first g5.png; 1 new, the first x": lambda n: (
        {"ground": "x"} if n == 5 else {}
    ),
}


@pytest.mark.parametrize("said", CHANGES)
def test_other_facts_of_the_pairs_are_refused_with_how_many_and_the_first(tmp_path, said):
    """Places, headings, kinds, scales and names: whatever of the pairs a training uses."""
    trained(request(tmp_path), stop_after=4)
    edited(tmp_path, CHANGES[said])
    with pytest.raises(InvalidValue) as caught:
        trained(request(tmp_path))
    assert said in str(caught.value)
    assert "holds a training with other pairs" in str(caught.value)
    (tmp_path / "run" / "pairs.npz").unlink()  # then the fact is named at least
    with pytest.raises(InvalidValue, match=f"train: .*{said.split()[0]}"):
        trained(request(tmp_path))


def test_a_relation_that_changed_is_refused(tmp_path):
    trained(request(tmp_path), stop_after=4)
    edited(tmp_path, lambda n: {"aerial": "a0.png"} if n == 1 else {})
    with pytest.raises(InvalidValue, match="aerial pictures: 1 gone, the first a1.png"):
        trained(request(tmp_path))


def test_a_data_folder_that_was_moved_and_renamed_is_the_same_data(tmp_path):
    whole = request(tmp_path, out="whole")
    trained(whole)
    trained(replace(whole, out=tmp_path / "left"), stop_after=4)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").rename(tmp_path / "elsewhere" / "data")
    (tmp_path / "elsewhere" / "data").rename(tmp_path / "elsewhere" / "données")
    moved = open_data(f"pairs:{tmp_path / 'elsewhere' / 'données' / 'pairs.csv'}")
    trained(replace(whole, out=tmp_path / "left", data=moved.name, tables=moved.tables))
    assert weights(whole.out) == weights(tmp_path / "left")


def test_a_run_from_before_facts_were_kept_goes_on_where_its_names_agree(tmp_path):
    """Its digest holds the name of the data's folder, which may have changed since."""
    first = request(tmp_path)
    session, _ = trained(first, stop_after=4)
    (first.out / "pairs.npz").unlink()
    config = json.loads((first.out / "config.json").read_text())
    config["train"] = {"rows": 24, "digest": "4ce3a9f1d1d4"}
    (first.out / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidValue, match="the files' names or the relation of split train"):
        trained(first)
    config["train"]["digest"] = digest_names(session.job.table, "data")
    (first.out / "config.json").write_text(json.dumps(config))
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = open_data(f"pairs:{tmp_path / 'moved' / 'pairs.csv'}")
    later, reports = trained(replace(first, data=moved.name, tables=moved.tables))
    assert len(reports) == 5
    assert not later.folder.keeps_facts()


def test_the_digest_of_old_runs_is_the_one_they_wrote(tmp_path):
    """Names of files with that of their folder, and the relation."""
    table = request(tmp_path).tables["train"]
    slow = hashlib.sha256()
    for side, count in (("g", 24), ("a", 24)):
        for n in range(count):
            slow.update(f"data/{side}{n}.png\n".encode())
    for n in range(24):
        slow.update(n.to_bytes(8, "little") * 2)
    assert digest_names(table, "data") == slow.hexdigest()[:12]


def test_an_edited_page_is_refused_a_moved_one_is_not(tmp_path):
    first = request(tmp_path)
    trained(first)
    moved = tmp_path / "moved.py"
    moved.write_bytes(PAGE.read_bytes())
    trained(replace(first, method=str(moved), page=PageRef.of_file(moved)))
    edited = tmp_path / "edited.py"
    edited.write_bytes(PAGE.read_bytes() + b"# another line")
    with pytest.raises(InvalidValue, match="page: '"):
        trained(replace(first, method=str(edited), page=PageRef.of_file(edited)))


def test_settings_can_be_mended_until_the_first_step(tmp_path):
    """What was refused when its network was built does not stand in the way of the next try."""
    first = request(tmp_path)
    prepare(first)
    other = replace(first, config=replace(first.config, lr=0.5))
    trained(other, stop_after=1)
    with pytest.raises(InvalidValue, match=r"config.lr: 0.5 there"):
        prepare(first)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(InvalidValue, match="is not empty and holds no training"):
        trained(request(tmp_path))


def test_a_finished_training_started_again_does_nothing(tmp_path):
    done = request(tmp_path)
    trained(done)
    before = weights(done.out)
    _, reports = trained(done)
    assert reports == []
    assert weights(done.out) == before


def test_a_disk_that_fills_up_leaves_the_last_saved_state(tmp_path, monkeypatch):
    asked = request(tmp_path)
    trained(asked, stop_after=4)  # saved after step 3
    before = weights(asked.out)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CannotWrite, match="disk is full"):
        trained(asked)
    assert weights(asked.out) == before
    assert not list(asked.out.glob(".*partial*"))
