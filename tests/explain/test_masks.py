import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny_pairs import write_pairs

from crossview import catalogue
from crossview.cli import main
from crossview.errors import BadModel, InvalidValue
from crossview.explain import masks
from crossview.explain.masks import (
    LAYOUTS,
    ExplainedRun,
    Masks,
    correlations,
    course,
    draw_samples,
    label_runs,
    measure_alignment,
    measure_layout_recalls,
    name_layout,
    others,
    unroll_masks,
)
from crossview.pairs.batch import RawBatch, Views
from crossview.pairs.loading import make_plain_reader, read_pair
from crossview.training.contract import example_table
from crossview.views.spec import ViewSpec
from crossview.views.symmetry import apply_symmetry, list_symmetries


def test_correlation_is_numpys_over_positions_and_the_mean_over_masks():
    rng = np.random.default_rng(0)
    one, two = rng.random((2, 3, 10)), rng.random((2, 3, 10))
    slow = [[np.corrcoef(one[n, k], two[n, k])[0, 1] for k in range(3)] for n in range(2)]
    np.testing.assert_allclose(correlations(one, two), np.mean(slow, axis=1))


def test_a_flat_mask_correlates_with_nothing():
    assert correlations(np.ones((1, 1, 5)), np.arange(5.0).reshape(1, 1, 5)).tolist() == [0.0]


def random_masks(count=60):
    return np.random.default_rng(1).random((count, 2, 4, 8)).astype(np.float32)


def test_masks_of_one_place_that_agree_are_told_from_those_that_do_not():
    ground = random_masks()
    aerial = ground + np.random.default_rng(2).normal(0, 0.1, ground.shape).astype(np.float32)
    found = measure_alignment(Masks(ground=ground, aerial=aerial))
    assert found.matched[0] > 0.8
    assert abs(found.unmatched[0]) < 0.1
    assert found.separated > 0.99


def test_what_all_places_share_does_not_count_as_alignment():
    shared = np.linspace(0, 5, 32).reshape(1, 1, 4, 8).astype(np.float32)
    ground, aerial = random_masks() + shared, random_masks()[::-1] + shared
    found = measure_alignment(Masks(ground=ground, aerial=aerial))
    assert found.matched[0] > 0.8
    assert found.unmatched[0] > 0.8
    assert abs(found.own_matched[0]) < 0.1
    assert 0.3 < found.separated < 0.7


def test_a_square_map_is_unrolled_as_its_picture_would_be():
    """North of the centre lands in the middle column, the centre in the bottom row."""
    square = torch.zeros(1, 1, 9, 9)
    square[0, 0, :3, 4] = 1.0  # due north
    strip = unroll_masks(square, (4, 16), polar=False)[0, 0]
    assert int(strip[0].argmax()) in (7, 8)
    assert float(strip[0, [0, 3, 12]].max()) == 0.0
    assert unroll_masks(strip[None, None], (4, 16), polar=True).shape == (1, 1, 4, 16)


def test_every_row_gets_another_one():
    found = others(9, 0)
    assert sorted(found.tolist()) == list(range(9))
    assert (found != np.arange(9)).all()
    with pytest.raises(InvalidValue, match="at least 2 rows, got 1"):
        others(1, 0)


def train(folder, csv, name, *more):
    """A tiny GeoDTR+ without polar transform, trained for two steps."""
    small = {"backbone": "test_convnext", "drop_path": 0.0, "hidden": 16, "footprint_m": 60,
             "ground_px": "[32,64]", "aerial_px": "[32,32]", "polar": "false", "batch": 4,
             "steps": 2, "descriptors": 2}  # fmt: skip
    line = ["train", "--method", "geodtr-plus", "--data", f"pairs:{csv}", "--out"]
    line += [str(folder / name), "--no-pretrained", "--workers", "0", "--quiet", "--val-share=0"]
    assert main([*line, *(f"--config={k}={v}" for k, v in small.items()), *more]) == 0
    return folder / name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(data, run with CHSG, run without it and of more masks)."""
    folder = tmp_path_factory.mktemp("explain")
    csv = write_pairs(folder / "data", 12)
    with_chsg = train(folder, csv, "with-chsg")
    without = train(folder, csv, "without", "--config=chsg=false", "--config=descriptors=3")
    return f"pairs:{csv}", with_chsg, without


def width_of(path):
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 10
        return picture.size[0]


def kinds_in(folder):
    """The names of the files, numbers of rows left out."""
    return {re.sub(r"-\d+", "", path.name) for path in folder.iterdir()}


def test_the_command_draws_masks_distances_and_samples(trained, tmp_path, capsys):
    data, run, _ = trained
    out = tmp_path / "out"
    line = ["explain", str(run), "--data", data, "--split", "train", "--out", str(out)]
    assert main([*line, "--show", "1"]) == 0
    assert kinds_in(out) == {"masks.png", "samples.png", "distances.png", "explain.json"}
    told = json.loads((out / "explain.json").read_text())
    assert set(told) == {"pairs", "distances", "recall", "alignment"}
    assert set(told["distances"]) == {"original", "unmatched", "flip", "rot90", "rot180", "rot270"}
    assert told["alignment"]["pairs"] == 12
    assert list(told["recall"]) == list(LAYOUTS)
    assert all(0.0 <= value <= 100.0 for value in told["recall"].values())
    said = capsys.readouterr().out
    assert "correlation of masks: matched" in said
    assert "R@1 among 12 pairs, both views alike: original" in said


def test_several_runs_stand_side_by_side_on_the_same_pairs(trained, tmp_path, capsys):
    """What is drawn of both at once is what is measured of each alone."""
    data, *runs = trained
    ask = ["--data", data, "--split", "train", "--show", "2"]
    alone = []
    for run in runs:
        assert main(["explain", str(run), *ask, "--out", str(tmp_path / run.name)]) == 0
        alone.append(json.loads((tmp_path / run.name / "explain.json").read_text()))
    capsys.readouterr()
    out = tmp_path / "both"
    assert main(["explain", *map(str, runs), *ask, "--out", str(out)]) == 0
    told = json.loads((out / "explain.json").read_text())
    each = told.pop("runs")
    assert told == alone[0]
    assert [one.pop("run") for one in each] == ["with-chsg", "without"]
    assert each == alone
    said = capsys.readouterr().out
    assert said.index("with-chsg:") < said.index("without:")
    assert (out / "courses.png").is_file()
    for path in (tmp_path / "with-chsg").glob("*.png"):
        wide, alone_px = width_of(out / path.name), width_of(path)
        assert wide == alone_px if path.name.startswith("samples") else wide > alone_px


def subject_of(run, data):
    opened = catalogue.open_run(run)
    table = catalogue.open_data(data).table("train")
    return ExplainedRun(
        name=run.name,
        model=opened.page.build(opened.config).eval(),
        reader=make_plain_reader(table, opened.views),
        page=opened.page,
        config=opened.config,
    )


def cells_drawn(monkeypatch, tmp_path, subjects):
    """What a figure of samples of row 3 is made of: cells by the heading of their block."""
    found = {}
    monkeypatch.setattr(masks, "_draw_blocks", lambda path, blocks: found.update(blocks))
    assert draw_samples(tmp_path / "samples.png", subjects, 3)
    return found


def test_samples_are_the_eight_layouts_and_what_each_training_draws(trained, tmp_path, monkeypatch):
    data, *runs = trained
    subjects = [subject_of(run, data) for run in runs]
    blocks = cells_drawn(monkeypatch, tmp_path, subjects)
    layouts, pairs, singles = blocks.values()
    assert list(blocks) == [
        "the 8 layouts of this pair",
        "with-chsg: as training draws it, 2 copies of the place each time",
        "without: as training draws it",
    ]
    raw = subjects[0].reader.batch(0, 0, [3])
    for (title, ground, aerial), change in zip(layouts, list_symmetries("strong"), strict=True):
        expected = apply_symmetry(raw.ground[0], raw.aerial[0], change, polar=False)
        assert title == name_layout(change)
        np.testing.assert_array_equal(ground, expected[0])
        np.testing.assert_array_equal(aerial, expected[1])
    assert [len(cells) for cells in (pairs, singles)] == [8, 8]
    titles = [title for title, _, _ in pairs[:3]]
    assert titles == ["draw 1, copy 1", "draw 1, copy 2", "draw 2, copy 1"]


def test_draws_are_what_augment_makes_and_the_same_again(trained, tmp_path, monkeypatch):
    data, run, _ = trained
    subject = subject_of(run, data)
    drawn, again = (
        list(cells_drawn(monkeypatch, tmp_path, [subject]).values())[-1] for _ in range(2)
    )
    pair = read_pair(subject.reader.table, subject.reader.source, 3)
    rng = np.random.default_rng((subject.reader.seed, 1, 3))
    copies = subject.page.augment(pair, subject.config, rng)
    for copy, (_, ground, aerial), (_, same, _) in zip(copies, drawn, again, strict=False):
        np.testing.assert_array_equal(ground, copy.ground)
        np.testing.assert_array_equal(aerial, copy.aerial)
        np.testing.assert_array_equal(ground, same)
    assert not np.array_equal(copies[0].ground, copies[1].ground)


def train_other(method, data, out, sizes):
    """One step of another method."""
    line = ["train", "--method", method, "--data", data, "--quiet", "--workers", "0"]
    line += [f"--config={name}={json.dumps(value)}" for name, value in sizes.items()]
    assert main([*line, "--val-share=0", "--no-pretrained", "--out", str(out)]) == 0
    return out


SAIG = {"stem": [4] * 6, "width": 8, "heads": 2, "depth": 1, "ground_px": [32, 64],
        "aerial_px": [32, 32], "batch": 4, "steps": 1, "footprint_m": 60}  # fmt: skip


def test_runs_that_cannot_stand_side_by_side_are_refused(trained, tmp_path, capsys):
    data, run, _ = trained
    ask = ["--data", data, "--split", "train", "--out", str(tmp_path / "out")]
    elsewhere = train(tmp_path, write_pairs(tmp_path / "elsewhere-data", 9), "elsewhere")
    saig = train_other("saig-d", data, tmp_path / "saig", SAIG)
    capsys.readouterr()
    for runs, said in (
        ((run, run), "is named twice: beside itself a run shows nothing"),
        ((run, run / ".." / run.name), "Name each run once"),
        ((run, elsewhere), "side by side they would show that, and not what their settings do"),
        ((run, saig), "with-chsg has layout masks and saig has none"),
    ):
        assert main(["explain", *map(str, runs), *ask]) != 0
        assert said in " ".join(capsys.readouterr().err.split())
        assert not list((tmp_path / "out").glob("*.json"))
    assert main(["explain", str(run), str(run), "--out", str(tmp_path / "courses")]) != 0


def test_networks_without_masks_show_distances_and_samples(trained, tmp_path):
    data, _, _ = trained
    saig = train_other("saig-d", data, tmp_path / "saig", SAIG)
    ask = ["--data", data, "--split", "train", "--out", str(tmp_path / "out"), "--show", "1"]
    assert main(["explain", str(saig), *ask]) == 0
    assert kinds_in(tmp_path / "out") == {"samples.png", "distances.png", "explain.json"}


def test_pages_for_use_only_have_no_training_to_show(trained, tmp_path):
    data, run, _ = trained
    subject = replace(subject_of(run, data), page=SimpleNamespace())
    assert not draw_samples(tmp_path / "samples.png", [subject], 3)
    assert not (tmp_path / "samples.png").exists()


def test_no_losses_are_drawn_beside_an_imported_run(trained, tmp_path, capsys):
    data, run, other = trained
    imported = tmp_path / "imported"
    shutil.copytree(other, imported)
    (imported / "log.jsonl").unlink()
    ask = ["--data", data, "--split", "train", "--out", str(tmp_path / "out"), "--show", "0"]
    assert main(["explain", str(run), str(imported), *ask]) == 0
    assert "has no log.jsonl" in " ".join(capsys.readouterr().err.split())
    assert kinds_in(tmp_path / "out") == {"distances.png", "explain.json"}


def test_runs_of_one_name_are_called_by_their_paths(tmp_path):
    assert label_runs([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    alike = [tmp_path / "one" / "run", tmp_path / "two" / "run"]
    assert label_runs(alike) == [str(path) for path in alike]


class Columns(torch.nn.Module):
    """Vectors that are the columns of a picture from ``first`` on; it looks nowhere else."""

    def __init__(self, first):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.first = first

    def ground(self, images):
        seen = images[..., self.first :].flatten(1)
        return torch.nn.functional.normalize(seen - seen.mean(1, keepdim=True), dim=1)

    aerial = ground


class Strips:
    """A reader of six pairs whose two views are the same strip, coloured in its first quarter."""

    strips = np.full((6, 4, 16, 3), 128, np.uint8)
    strips[:, :, :4] = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 3))
    spec = ViewSpec(side="ground", height_px=4, width_px=16)
    views = Views(ground=spec, aerial=replace(spec, side="aerial", footprint_m=50.0, polar=True))
    table = example_table(6)

    def batch(self, epoch, number, rows):
        angles = np.zeros(len(rows), np.float32)
        pictures = self.strips[rows]
        return RawBatch(ground=pictures, aerial=pictures, rows=np.array(rows),
                        places=np.array(rows), fov_deg=angles, heading_deg=angles)  # fmt: skip


def test_recall_hangs_on_the_north_only_where_a_network_looks_one_way():
    """What tells the places apart is in the first quarter of their strips; the rest is grey."""
    everywhere = measure_layout_recalls(Columns(0), Strips(), range(6))
    assert everywhere == dict.fromkeys(LAYOUTS, 100.0)
    eastward = measure_layout_recalls(Columns(12), Strips(), range(6))
    assert eastward == {"original": 0.0, "mirrored": 100.0, "turned by 90": 100.0,
                        "turned by 180": 0.0, "turned by 270": 0.0}  # fmt: skip


def test_photos_are_mirrored_but_never_turned():
    reader = Strips()
    reader.table = replace(reader.table, fov_deg=np.full(6, 90.0))
    assert set(measure_layout_recalls(Columns(0), reader, range(6))) == {"original", "mirrored"}


def test_what_cannot_be_explained_is_said(trained, tmp_path, capsys):
    data, run, _ = trained
    assert main(["explain", str(run), "--out", str(tmp_path / "a")]) == 2
    assert main(["explain", str(run), "--data", data, "--out", str(tmp_path / "b")]) == 1
    assert "has no split 'test'" in capsys.readouterr().err
    with pytest.raises(BadModel, match="no log.jsonl"):
        course(tmp_path)


def test_the_losses_of_a_killed_training_are_drawn_without_its_torn_line(tmp_path, capsys):
    for name in ("whole", "torn"):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"step": step, "loss": 1.0 / step}) + "\n" for step in range(1, 6)]
        (tmp_path / name / "log.jsonl").write_text("".join(lines))
    with (tmp_path / "torn" / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "lo')
    runs = [str(tmp_path / name) for name in ("whole", "torn")]
    assert main(["explain", *runs, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert said.count("is incomplete") == 1
    assert "torn/log.jsonl" in said.replace("\n", "")
    assert [list(values) for values in course(tmp_path / "torn")] == [
        list(values) for values in course(tmp_path / "whole")
    ]


@pytest.mark.parametrize("line", ['{"step": 1, "loss": "high"}', '{"loss": 1.0}', '{"st', "[]"])
def test_a_damaged_log_is_said_with_its_name(tmp_path, capsys, line):
    for name, last in (("whole", ""), ("damaged", f"{line}\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n' + last)
    runs = [str(tmp_path / name) for name in ("whole", "damaged")]
    assert main(["explain", *runs, "--out", str(tmp_path / "out")]) == 1
    assert "log.jsonl" in capsys.readouterr().err.splitlines()[0]
