"""A run folder from somebody else runs no code of theirs, whatever verb opens it."""

import json
import shutil

import pytest
from tests.tiny_pairs import write_pairs

from crossview.catalogue import open_run
from crossview.cli import main
from crossview.errors import InvalidValue

torch = pytest.importorskip("torch", reason="needs the package torch")
from tests.training.tiny import PAGE, SMALL  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a page from outside of the package, and data to try it on."""
    folder = tmp_path_factory.mktemp("stranger")
    page = folder / "mine.py"
    page.write_text(PAGE.read_text())
    data = write_pairs(folder / "data", 24)
    settings = [
        f"--config={name}={list(v) if isinstance(v, tuple) else v}" for name, v in SMALL.items()
    ]
    line = ["train", "--method", str(page), "--data", f"pairs:{data}", "--out", str(folder / "run")]
    assert main([*line, *settings, "--device", "cpu", "--val-share", "0", "--workers", "0"]) == 0
    return folder


@pytest.fixture
def stranger(made, tmp_path):
    """That run, as a stranger would hand it on: its page leaves a mark where it is executed."""
    run, page, mark = tmp_path / "run", tmp_path / "theirs.py", tmp_path / "executed"
    shutil.copytree(made / "run", run)
    page.write_text(f"{(made / 'mine.py').read_text()}\nopen({str(mark)!r}, 'w').close()\n")
    record = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**record, "method": str(page)}))
    shutil.copytree(run, tmp_path / "copy")
    return run, page, mark, f"pairs:{made / 'data' / 'pairs.csv'}"


VERBS = {
    "evaluate": ["evaluate", "RUN", "--data", "DATA", "--split", "train", "--workers", "0"],
    "consistency": ["evaluate", "RUN", "--consistency", "--data", "DATA", "--split", "train"],
    "export": ["export", "RUN", "--out", "OUT"],
    "explain": ["explain", "RUN", "--data", "DATA", "--split", "train", "--out", "OUT"],
}
OTHERS = {  # they open no run, or name the method themselves
    "losses": ["explain", "RUN", "COPY", "--out", "OUT"],
    "train": ["train", "--method", "safa", "--data", "DATA", "--out", "RUN", "--no-pretrained"],
    "index": ["index", "RUN", "--model", "RUN", "--out", "OUT"],
    "locate": ["locate", "RUN", "--index", "RUN"],
    "report": ["report", "RUN", "--out", "OUT"],
    "weights": ["train", "--method", "safa", "--data", "DATA", "--weights", "RUN", "--out", "OUT"],
    "import": ["import", "safa", "RUN", "--trained-on", "cvusa", "--out", "OUT"],
    "cost": ["cost", "RUN"],
    "calibrate": ["calibrate", "RUN"],
}


def typed(line, stranger, *more):
    run, _, _, data = stranger
    beside = {"COPY": str(run.parent / "copy"), "OUT": str(run.parent / "out")}
    words = {"RUN": str(run), "DATA": data, **beside}
    return main([words.get(word, word) for word in line] + [*more])


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_from_outside_runs_only_where_the_command_names_it(verb, stranger, capsys):
    assert typed(VERBS[verb], stranger) == 2
    message = capsys.readouterr().err
    assert "theirs.py" in message
    assert "--method FILE" in message
    assert not stranger[2].exists()


@pytest.mark.parametrize("verb", OTHERS)
def test_no_other_verb_runs_it_either(verb, stranger, capsys):
    code = typed(OTHERS[verb], stranger)
    assert "fault of crossview" not in capsys.readouterr().err
    assert (code == 0) == (verb == "losses")
    assert not stranger[2].exists()


@pytest.mark.parametrize("name", ["theirs.py", "./theirs.py", "~/theirs.py", "sub/theirs", "a\\b"])
def test_every_way_to_name_a_file_counts(stranger, name, monkeypatch):
    run, page, mark, _ = stranger
    monkeypatch.chdir(page.parent)
    monkeypatch.setenv("HOME", str(page.parent))
    (page.parent / "sub").mkdir()
    shutil.copy(page, page.parent / "sub" / "theirs")
    record = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**record, "method": name}))
    with pytest.raises(InvalidValue, match="runs only if you name it"):
        open_run(run)
    assert not mark.exists()


def test_named_it_runs_and_an_edited_page_is_reported(stranger, capsys):
    assert typed(VERBS["evaluate"], stranger, "--method", str(stranger[1])) == 0
    assert "was made with another method page" in capsys.readouterr().err
    assert stranger[2].exists()


def test_the_page_that_it_was_made_with_needs_no_word(made, stranger, capsys):
    assert typed(VERBS["export"], stranger, "--method", str(made / "mine.py")) == 0
    assert "another method page" not in capsys.readouterr().err
    assert open_run(stranger[0], str(made / "mine.py")).notes == ()


def test_a_method_of_the_package_in_its_place_is_reported(stranger):
    record = json.loads((stranger[0] / "config.json").read_text())
    (stranger[0] / "config.json").write_text(json.dumps({**record, "config": {}}))
    (note,) = open_run(stranger[0], "safa").notes
    assert "now; its network may not be the one" in note
    (stranger[0] / "config.json").write_text(
        json.dumps({**record, "method": "SAFA", "config": {}, "page": ""})
    )
    assert open_run(stranger[0]).notes == open_run(stranger[0], "safa").notes == ()
    assert open_run(stranger[0], "geodtr").notes
