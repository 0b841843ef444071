"""``crossview train`` and ``crossview export`` as typed."""

import json
from pathlib import Path

import pytest
from tests.tiny_pairs import write_pairs
from tests.training.tiny import PAGE

from crossview.cli import main
from crossview.training.run_folder import RunFolder

SMALL = (
    *("--config=width=4", "--config=aerial_px=16", "--config=ground_px=[8,32]"),
    *("--batch=4", "--steps=6", "--device=cpu", "--workers=0", "--val-share=0.25"),
)


@pytest.fixture
def typed(tmp_path, capsys):
    """Run a command line; gives (exit code, stdout, stderr)."""
    csv = write_pairs(tmp_path / "data", 24)

    def run(*more, method=str(PAGE), data=f"pairs:{csv}", out=str(tmp_path / "run")):
        line = ["train", "--method", method, "--data", data, "--out", out, *SMALL, *more]
        code = main(line)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_page_from_outside_trains_and_passes_the_contract(typed, tmp_path, capsys):
    code, out, err = typed()
    assert code == 0
    assert out.strip() == str(tmp_path / "run")
    assert "keeps the contract: names, branches, augment, objective, batches" in err
    assert "R@1" in err
    assert (
        main(
            [
                "export",
                str(tmp_path / "run"),
                "--out",
                str(tmp_path / "model"),
                "--method",
                str(PAGE),
            ]
        )
        == 0
    )
    info = json.loads((tmp_path / "model" / "model.json").read_text())
    assert info["dim"] == 16


def test_a_reading_is_chosen_by_name_and_only_for_methods_that_have_two(typed, tmp_path):
    settings = ("--config=backbone=test_convnext", "--no-pretrained", "--config=aerial_px=64")
    settings += ("--config=ground_px=[32,192]", "--config=whole=false", "--steps=0", "--epochs=1")
    run = ["train", "--method", "singeo", "--recipe", "cvusa", "--reading", "intent", *settings]
    run += ["--data", f"pairs:{tmp_path / 'data' / 'pairs.csv'}", "--out", str(tmp_path / "singeo")]
    run += ["--batch=4", "--device=cpu", "--workers=0", "--val-share=0", "--quiet"]
    assert main(run) == 0
    kept = json.loads((tmp_path / "singeo" / "config.json").read_text())["config"]
    assert (kept["reading"], kept["schedule"], kept["seed"]) == ("intent", "loader", 42)
    code, _, err = typed("--reading", "intent")
    assert code == 2
    assert "has only one reading; remove --reading" in err


def test_a_page_that_breaks_the_contract_is_refused_before_training(typed, tmp_path):
    page = tmp_path / "mine.py"
    text = PAGE.read_text().replace("return F.normalize(", "return (").replace(", dim=1)", ")")
    page.write_text(text)
    code, _, err = typed(method=str(page))
    assert code == 2
    assert "gives vectors of length" in err
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("before", ["absent", "empty"])
def test_a_refused_training_leaves_no_run_folder(tmp_path, before, capsys):
    data = write_pairs(tmp_path / "data", 8)
    (tmp_path / "x.pth").write_bytes(b"no weights")
    run = tmp_path / "run"
    if before == "empty":
        run.mkdir()
    line = ["train", "--method", "safa", "--data", f"pairs:{data}", "--out", str(run)]
    line += ["--weights", str(tmp_path / "x.pth"), "--batch=4", "--device=cpu", "--workers=0"]
    assert main(line) != 0
    assert "x.pth" in capsys.readouterr().err
    assert list(tmp_path.glob("run*")) == ([run] if before == "empty" else [])
    assert list(run.glob("*")) == []


def test_a_refused_training_leaves_a_run_that_was_there_as_it_was(typed, tmp_path):
    assert typed()[0] == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    assert typed("--config", "width=8")[0] == 2
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_a_dry_run_prints_time_and_memory_and_keeps_nothing(typed, tmp_path):
    code, out, _ = typed("--dry-run")
    assert code == 0
    assert "pairs/s" in out
    assert "peak memory" in out
    assert "the whole training about" in out
    assert not (tmp_path / "run").exists()


def test_a_run_that_kept_no_facts_of_its_pairs_goes_on_with_a_warning(typed, tmp_path):
    assert typed("--until", "3", "--save-every", "3")[0] == 0
    folder = RunFolder(tmp_path / "run")
    config = folder.config()
    for split in ("train", "val"):
        config[split].pop("facts")
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    code, _, err = typed()
    assert code == 0
    assert "whether places, headings and kinds are still the same cannot be checked" in " ".join(
        err.split()
    )


def test_the_options_end_up_in_the_run_folder(typed, tmp_path):
    typed("--lr", "0.005", "--seed", "3", "--config", "width=8")
    config = RunFolder(tmp_path / "run").config()["config"]
    assert (config["lr"], config["seed"], config["width"], config["steps"]) == (0.005, 3, 8, 6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config", "widht=3"], "Did you mean 'width'?"),
        (["--config", "width"], "--config takes NAME=VALUE"),
        (["--lr", "-1"], "lr must be a number above 0"),
        (["--epochs", "3"], "Unknown setting 'epochs'"),
        (["--device", "toaster"], "device 'toaster' cannot be used here"),
        (["--weights", "x.pth"], "no setting named weights"),
        (["--workers", "-1"], "workers must be at least 0"),
    ],
)
def test_a_wrong_option_is_reported_in_a_sentence(typed, more, message):
    code, _, err = typed(*more)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_pictures_that_cannot_be_read_are_named(typed, tmp_path):
    (tmp_path / "data" / "a3.png").write_bytes(b"")
    code, _, err = typed("--val-share", "0", "--cache", str(tmp_path / "cache"))
    assert code == 1
    assert "a3.png" in err


def test_a_cache_changes_nothing(typed, tmp_path):
    assert typed("--cache", str(tmp_path / "cache"))[0] == 0
    assert typed(out=str(tmp_path / "plain"))[0] == 0
    runs = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "plain")]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("what", ["empty", "absent"])
def test_exporting_what_is_no_run_is_refused(tmp_path, what, capsys):
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    assert main(["export", str(folder), "--out", str(tmp_path / "model")]) == 1
    assert "not a run folder" in capsys.readouterr().err


def test_a_model_file_has_one_name(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--out", "paris.onnx"]) == 2
    assert "always called model.onnx" in capsys.readouterr().err


def test_exporting_a_run_whose_page_was_moved_takes_the_new_place(typed, tmp_path, capsys):
    moved = Path(tmp_path / "elsewhere.py")
    page = tmp_path / "mine.py"
    page.write_text(PAGE.read_text())
    assert typed(method=str(page))[0] == 0
    page.rename(moved)
    line = ["export", str(tmp_path / "run"), "--out", str(tmp_path / "model")]
    assert main(line) == 2
    assert main([*line, "--method", str(moved)]) == 0


def test_unreadable_pictures_stop_a_training_or_are_left_out_and_counted(typed, tmp_path):
    for name in ("g3.png", "a7.png"):
        (tmp_path / "data" / name).write_bytes(b"nothing")
    cached = f"--cache={tmp_path / 'cache'}"
    code, _, err = typed(cached)
    assert code == 1
    assert "cannot be read:" in err
    code, _, err = typed(cached, "--skip-unreadable", out=str(tmp_path / "second"))
    assert code == 0
    assert "Warning: 2 pictures cannot be read; their pairs are left out." in err
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    assert config["train"]["rows"] + config["val"]["rows"] == 22


def test_fast_decoding_is_noted_and_another_mode_is_another_training(typed, tmp_path):
    assert typed("--decoding=fast")[0] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["decoding"] == "fast"
    code, _, err = typed("--decoding=exact")
    assert code == 2
    assert "decoding" in err
    assert typed("--decoding=quick", out=str(tmp_path / "other"))[0] == 2
