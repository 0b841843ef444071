import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.tiny_pairs import write_pairs

from crossview.cli import main
from crossview.errors import BadModel, InvalidValue
from crossview.explain.masks import (
    LAYOUTS,
    Masks,
    correlations,
    course,
    measure_alignment,
    measure_layout_recalls,
    others,
    unroll_masks,
)
from crossview.pairs.batch import RawBatch, Views
from crossview.training.contract import example_table
from crossview.views.spec import ViewSpec


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(data, run) of a tiny GeoDTR+ without polar transform, trained for two steps."""
    folder = tmp_path_factory.mktemp("explain")
    csv = write_pairs(folder / "data", 12)
    small = {"backbone": "test_convnext", "drop_path": 0.0, "hidden": 16, "footprint_m": 60,
             "ground_px": "[32,64]", "aerial_px": "[32,32]", "polar": "false", "batch": 4,
             "steps": 2, "descriptors": 2}  # fmt: skip
    line = ["train", "--method", "geodtr-plus", "--data", f"pairs:{csv}", "--out"]
    line += [str(folder / "run"), "--no-pretrained", "--workers", "0", "--quiet", "--val-share=0"]
    assert main([*line, *(f"--config={k}={v}" for k, v in small.items())]) == 0
    return f"pairs:{csv}", folder / "run"


def test_the_command_draws_masks_distances_and_courses(trained, tmp_path, capsys):
    data, run = trained
    out = tmp_path / "out"
    line = ["explain", str(run), str(run), "--data", data, "--split", "train", "--out", str(out)]
    assert main([*line, "--show", "1"]) == 0
    assert len(list(out.glob("masks-*.png"))) == 1
    assert (out / "courses.png").stat().st_size > 1000
    told = json.loads((out / "explain.json").read_text())
    assert set(told["distances"]) == {"original", "unmatched", "flip", "rot90", "rot180", "rot270"}
    assert told["alignment"]["pairs"] == 12
    assert list(told["recall"]) == list(LAYOUTS)
    assert all(0.0 <= value <= 100.0 for value in told["recall"].values())
    said = capsys.readouterr().out
    assert "correlation of masks: matched" in said
    assert "R@1 among 12 pairs, both views alike: original" in said


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
    data, run = trained
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
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n' + line + "\n")
    assert main(["explain", str(tmp_path), str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "log.jsonl" in capsys.readouterr().err.splitlines()[0]
