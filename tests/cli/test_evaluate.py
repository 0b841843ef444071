"""``crossview evaluate`` as typed."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from tests.cli.test_train import SMALL
from tests.tiny_pairs import write_pairs
from tests.toy_model import toy_model
from tests.training.tiny import PAGE

from crossview.cli import main
from crossview.evaluation.evaluation_record import Evaluation, read_all

PLACES = 24


@pytest.fixture
def data(tmp_path):
    """Pairs whose split test holds all; the toy model tells colours apart."""
    return write_pairs(tmp_path / "data", PLACES, extra={"split": "test"})


@pytest.fixture
def typed(tmp_path, data, capsys):
    """Run a command line; gives (exit code, stdout, stderr)."""

    def run(*more, out="out"):
        line = ["evaluate", "--data", f"pairs:{data}", "--out", str(tmp_path / out)]
        code = main([*line, *map(str, more)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def model(tmp_path):
    return toy_model(tmp_path / "model", fov_seen_deg=(360.0, 360.0))


def test_a_model_folder_is_measured_and_every_answer_kept(typed, model, tmp_path):
    code, out, _ = typed(model, "--workers", 0, "--headings", "aligned")
    assert code == 0
    assert "24 queries, 24 references; R@1% is R@1" in out
    record = Evaluation.read(tmp_path / "out")
    assert record.protocol.headings == "aligned"
    assert record.protocol.off_protocol == ()
    assert record.figure("R@1").value >= 50.0  # colours tell these places apart
    assert record.queries.ids[0].startswith("g")
    assert record.figure("R@1").low < record.figure("R@1").value
    hits = (record.queries.best[:, 0] == record.queries.truth).mean()
    assert record.figure("R@1").value == pytest.approx(100 * hits)
    assert record.model["fingerprint"]
    assert np.isfinite(record.queries.truth_latlon).all()


def test_a_grid_writes_a_record_per_cell_and_marks_what_was_not_trained_for(typed, model, tmp_path):
    code, out, _ = typed(model, "--fov", "360,90,any", "--seeds", 2, "--workers", 0)
    assert code == 0
    records = read_all(tmp_path / "out")
    assert len(records) == 6
    assert "mean of 2 seeds" in out
    marks = {r.protocol.fov_deg: bool(r.protocol.off_protocol) for r in records}
    assert marks == {360.0: False, 90.0: True, None: True}
    assert "NOT COMPARABLE: not trained for a field of view of 90 degrees (seen: 360)" in out


@pytest.mark.parametrize("headings", ["unknown", "aligned"])
def test_the_four_fields_of_view_of_the_headline_have_their_mean(typed, model, tmp_path, headings):
    code, out, err = typed(model, "--fov", "360,180,90,70", "--headings", headings, "--workers", 0)
    assert code == 0
    records = read_all(tmp_path / "out")
    slow = sum(100.0 * (r.queries.rank == 1).mean() for r in records) / 4
    (line,) = [x for x in out.splitlines() if "mean over 360, 180, 90 and 70 degrees" in x]
    assert f"heading {headings}" in line
    assert f"{slow:.1f} [" in line
    (kept,) = json.loads((tmp_path / "out" / "means.json").read_text())["means"]
    assert kept["figures"][0]["value"] == pytest.approx(slow)
    assert "means.json" in err


def test_an_exported_model_is_measured_where_there_is_neither_torch_nor_scipy(
    model, data, tmp_path
):
    """The practitioner's install."""
    hidden = "".join(f"sys.modules[{n!r}] = None\n" for n in ("torch", "torchvision", "scipy"))
    line = ["evaluate", str(model), "--data", f"pairs:{data}", "--out", str(tmp_path / "out"),
            "--workers", "0", "--quiet"]  # fmt: skip
    code = f"import sys\n{hidden}from crossview.cli import main\nsys.exit(main({line!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Evaluation.read(tmp_path / "out").figure("R@1").low > 0.0


def test_other_fields_of_view_have_no_headline(typed, model, tmp_path):
    code, out, _ = typed(model, "--fov", "360,180,90", "--headings", "unknown", "--workers", 0)
    assert code == 0
    assert "mean over" not in out
    assert not (tmp_path / "out" / "means.json").exists()


def test_corruptions_are_cells_of_the_grid(typed, model, tmp_path):
    code, _, _ = typed(model, "--corrupt", "noise:5", "--corrupt", "fog:1", "--workers", 0)
    assert code == 0
    found = {r.protocol.corruption for r in read_all(tmp_path / "out")}
    assert found == {"", "noise 5", "fog 1"}


def test_hard_samples_are_scored_beside_the_queries_themselves(typed, model, tmp_path):
    code, _, _ = typed(model, "--hard-samples", "--headings", "aligned", "--workers", 0)
    assert code == 0
    queries = Evaluation.read(tmp_path / "out").queries
    assert (queries.mirrored_score != queries.true_score).any()
    assert (queries.rotated_score != queries.true_score).any()
    assert np.isfinite(queries.mirrored_score).all()


def test_another_representation_is_refused_unless_allowed_and_then_marked(typed, model, tmp_path):
    code, _, err = typed(model, "--representation", "narrow")
    assert code == 2
    assert "trained on padded pictures, shown narrow ones" in err
    code, out, _ = typed(model, "--representation", "narrow", "--off-protocol", "--workers", 0)
    assert code == 0
    assert "NOT COMPARABLE: trained on padded pictures" in out


def test_a_run_folder_is_evaluated_without_export(typed, data, tmp_path):
    train = write_pairs(tmp_path / "train", PLACES)
    line = ["train", "--method", str(PAGE), "--data", f"pairs:{train}", *SMALL, "--quiet"]
    assert main([*line, "--out", str(tmp_path / "run")]) == 0
    code, _, _ = typed(
        tmp_path / "run", "--method", PAGE, "--workers", 0, "--device", "cpu", "--label", "mine"
    )
    assert code == 0
    record = Evaluation.read(tmp_path / "out")
    assert (record.label, record.method) == ("mine", "mine")
    assert record.model["training_data"] == f"pairs:{train}"
    assert record.protocol.selection.startswith("last step")


def test_a_training_is_measured_on_other_data_in_the_same_command(data, tmp_path, capsys):
    train = write_pairs(tmp_path / "train", PLACES)
    line = ["train", "--method", str(PAGE), "--data", f"pairs:{train}", *SMALL, "--quiet"]
    out = tmp_path / "run"
    assert main([*line, "--out", str(out), "--test", f"pairs:{data}", "--test", str(data)]) == 0
    assert "on pairs:" in capsys.readouterr().out
    found = read_all(out / "evaluations")
    assert {record.data for record in found} == {f"pairs:{data}", str(data)}
    assert found[0].model["training_data"] == f"pairs:{train}"


def test_broken_pictures_are_refused_together_or_left_out_and_counted(typed, model, data, tmp_path):
    for name in ("g3.png", "g5.png", "a7.png"):
        (data.parent / name).write_bytes(b"no picture")
    code, _, err = typed(model, "--workers", 0)
    assert code == 1
    assert "3 of 48 pictures cannot be read" in err
    assert "--skip-unreadable" in err
    code, out, _ = typed(model, "--workers", 0, "--skip-unreadable")
    assert code == 0
    assert "3 queries left out" in out
    record = Evaluation.read(tmp_path / "out")
    assert (record.skipped, len(record.queries.ids), len(record.references.ids)) == (3, 21, 23)


@pytest.fixture
def elsewhere(tmp_path, data):
    """Vectors of both sides under their ids, in an order of their own."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(PLACES, 8))
    paths = {}
    for side, letter in (("queries", "g"), ("references", "a")):
        order = rng.permutation(PLACES)
        paths[side] = tmp_path / f"{side}.npz"
        np.savez(
            paths[side], vectors=vectors[order], ids=np.array([f"{letter}{n}.png" for n in order])
        )
    return paths


def given(paths):
    return ["--query-embeddings", paths["queries"], "--reference-embeddings", paths["references"]]


def test_vectors_of_any_program_are_measured_by_their_ids(typed, elsewhere, tmp_path):
    code, out, _ = typed(*given(elsewhere))
    assert code == 0
    assert Evaluation.read(tmp_path / "out").figure("R@1").value == 100.0
    assert "as given" in out


def test_options_state_what_vectors_of_another_program_show(typed, elsewhere, tmp_path):
    assert typed(*given(elsewhere), "--fov", "90", "--representation", "padded")[0] == 0
    protocol = Evaluation.read(tmp_path / "out").protocol
    assert (protocol.fov_deg, protocol.headings) == (90.0, "unknown")
    assert protocol.representation == "padded"
    code, _, err = typed(*given(elsewhere), "--fov", "90,70")
    assert code == 2
    assert "one field of view" in err


def test_vectors_without_ids_are_in_the_order_of_the_list(typed, tmp_path):
    vectors = np.random.default_rng(1).normal(size=(PLACES, 8))
    paths = {side: tmp_path / f"{side}.npy" for side in ("queries", "references")}
    for path in paths.values():
        np.save(path, vectors)
    assert typed(*given(paths))[0] == 0
    assert Evaluation.read(tmp_path / "out").figure("R@1").value == 100.0
    np.save(paths["queries"], vectors[:-1])
    code, _, err = typed(*given(paths))
    assert code == 1
    assert "23 vectors for 24 pictures, and no ids" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.array(["g0.png"] * PLACES)}, "the id 'g0.png' occurs twice"),
        ({"ids": np.array([f"x{n}.png" for n in range(PLACES)])}, "no vector for 24 of 24"),
        ({"vectors": np.ones((PLACES, 8))}, "have collapsed"),
        ({"vectors": np.full((PLACES, 8), np.nan)}, "NaN or infinity, the first in row 0"),
        ({"vectors": np.ones((PLACES, 5))}, "of different models"),
        ({"vectors": np.ones((PLACES, 8), int)}, "expected vectors of floats"),
        ({"fingerprint": "abc"}, ""),
    ],
)
def test_vectors_that_cannot_be_ranked_are_reported_by_file_and_row(
    typed, elsewhere, change, message
):
    with np.load(elsewhere["queries"]) as arrays:
        np.savez(elsewhere["queries"], **{**arrays, **change})
    code, _, err = typed(*given(elsewhere))
    assert code == (1 if message else 0)
    assert message in err


def test_a_re_rankers_lists_are_measured_as_they_are(typed, tmp_path):
    """Query n ranks n + 1 first and its own place second; query 0 does not list its own."""
    path = tmp_path / "ranking.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["query", "reference", "score"])
        for n in range(PLACES):
            writer.writerow([f"g{n}.png", f"a{(n + 1) % PLACES}.png", 0.9])
            writer.writerow([f"g{n}.png", f"a{n if n else 5}.png", 0.9 if n == 1 else 0.8])
    assert typed("--ranking", path)[0] == 0
    record = Evaluation.read(tmp_path / "out")
    assert record.figure("R@1").value == 0.0
    assert record.figure("R@5").value == pytest.approx(100 * 23 / 24)
    assert dict(zip(record.queries.ids, record.queries.rank, strict=True))["g0.png"] > 10
    path.write_text("query,reference,score\ng0.png,a0.png,high\n")
    assert "line 2: score is 'high'; expected a finite number" in typed("--ranking", path)[2]
    path.write_text("query,reference,score\ng0.png,a99.png,1\n")
    assert "line 2: the data set has no reference 'a99.png'" in typed("--ranking", path)[2]
    path.write_text("query,reference,score\ng0.png,a0.png,1\n")
    assert "ranks nothing for 23 of 24 queries" in typed("--ranking", path)[2]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ([], 2, "Give one of: a model; --query-embeddings"),
        (["--split", "val"], 1, "has no split 'val'; it has test"),
        (["--fov", "400"], 2, "--fov takes degrees in (0, 360] or any"),
        (["--fov", "361"], 2, "--fov takes degrees in (0, 360] or any"),
        (["--fov", "90,361"], 2, "--fov takes degrees in (0, 360] or any"),
        (["--headings", "north"], 2, "--headings takes aligned, unknown or degrees"),
        (["--seeds", "0"], 2, "seeds must be at least 1"),
        (["--corrupt", "smog"], 2, "Did you mean 'fog'"),
        (["--corrupt", "fog:9"], 2, "allowed: 1 to 5"),
        (["--decoding", "lossy"], 2, "--decoding takes exact or fast"),
        (["--radius", "-5"], 2, "--radius must be at least 0 metres"),
    ],
)
def test_wrong_options_are_reported(typed, model, more, code, message):
    found, _, err = typed(*([model] if more else []), *more, "--workers", 0)
    assert found == code
    assert message in err


def test_a_record_is_plain_json(typed, elsewhere, tmp_path):
    typed(*given(elsewhere))
    facts = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert facts["format"] == 1
    assert facts["protocol"]["relation"] == "one to one"
    assert facts["command"].startswith("crossview")
