"""Training, validation, mining, studies, evaluate, explain and locate show the same pixels.

The callers of ``scripts/shown_pixels.py`` run the package's own code up to a network that keeps
what it is given; here their pictures are compared with each other and with a slow loop.
"""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def script():
    name = "crossview_script_shown_pixels"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "shown_pixels.py")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


SHOWN = script()


def columns_of(picture):
    """The panorama's column in each of the picture's; -1 where there is none."""
    numbers = picture[0, :, 0].astype(int) + picture[0, :, 1].astype(int) // 40 * 256
    return np.where(SHOWN.mask_of(picture)[0], numbers, -1)


def slow(case):
    """Columns that a camera turned by ``case.turn`` sees, one after the other."""
    width = case.size_px[1]
    count = max(1, int(case.fov_deg * width / 360.0 + 1e-9))
    left = (width - count) // 2
    kept = [(left + n + case.turn) % width for n in range(count)]
    if case.representation == "narrow":
        return kept
    return [-1] * left + kept + [-1] * (width - count - left)


@pytest.mark.parametrize("fov", [360.0, 180.0, 90.0, 70.0, 123.4])
@pytest.mark.parametrize("size_px", [(16, 64), (17, 61)])
@pytest.mark.parametrize("representation", ["narrow", "padded"])
def test_all_callers_show_the_same_pixels(tmp_path, fov, size_px, representation):
    case = SHOWN.Case(folder=tmp_path, fov_deg=fov, size_px=size_px, representation=representation)
    turns = set()
    for draw, method in enumerate(("singeo", "sample4geo", "singeo")):
        trained = SHOWN.trained_with(case, method, draw)
        kept = [c for c in columns_of(trained) if c >= 0]
        turn = (kept[0] - (size_px[1] - len(kept)) // 2) % size_px[1]
        same = replace(case, turn=int(turn))
        turns.add(turn)
        assert columns_of(trained).tolist() == slow(same)
        for name, caller in SHOWN.CALLERS.items():
            if name in ("training", "locate"):
                continue
            assert np.array_equal(caller(same), trained), name
        located = SHOWN.located_with(same)
        assert np.array_equal(SHOWN.mask_of(located), SHOWN.mask_of(trained))
        whole = replace(same, fov_deg=360.0 * len(kept) / size_px[1])  # its own width, exactly
        assert np.abs(SHOWN.located_with(whole).astype(int) - trained).max() <= 1
    assert len(turns) > 1


def test_the_pixels_go_on_at_the_other_edge(tmp_path):
    case = SHOWN.Case(folder=tmp_path, fov_deg=90.0, turn=30)
    assert columns_of(SHOWN.evaluated_with(case)).tolist() == [*range(54, 64), *range(6)]


@pytest.mark.parametrize(("fov", "share"), [(360.0, 1.0), (180.0, 0.5), (90.0, 0.25)])
def test_mining_shows_the_share_of_the_canvas_that_the_field_of_view_has(tmp_path, fov, share):
    """A 4:3 mask left 9.4 % of the transformer's canvas at 90 degrees."""
    case = SHOWN.Case(
        folder=tmp_path, fov_deg=fov, representation="padded", size_px=SHOWN.SIZES["padded"]
    )
    assert SHOWN.mask_of(SHOWN.mined_with(case)).mean() == share


def test_validation_shows_whole_columns_at_the_headings_that_it_draws(tmp_path):
    from crossview.training.validation import crop_ground

    case = SHOWN.Case(folder=tmp_path, fov_deg=90.0, representation="padded")
    views = replace(case.views, headings_seen="unknown")
    raw = case.reader().batch(0, 0, [0, 1])
    turns = [int(np.random.default_rng((7, row)).integers(64)) for row in (0, 1)]
    for picture, turn in zip(crop_ground(raw, views, 90.0), turns, strict=True):
        assert columns_of(picture).tolist() == slow(replace(case, turn=turn))


def test_what_explain_compares_in_other_layouts_is_the_whole_picture(tmp_path):
    from crossview.explain.masks import compute_distances, measure_layout_recalls

    case = SHOWN.Case(folder=tmp_path, fov_deg=360.0, representation="padded", turn=5)
    for look in (compute_distances, measure_layout_recalls):
        model = SHOWN.Watched(case.spec)
        look(model, case.reader(), [0, 1])
        assert np.array_equal(model.seen[0], SHOWN.evaluated_with(case))


def test_losses_weigh_the_bins_that_locate_compares():
    import torch

    from crossview.methods.compass import visible_bins
    from crossview.views.crops import compute_bin_coverage

    fovs = np.array([360.0, 180.0, 90.0, 70.0, 61.5], np.float32)
    assert np.array_equal(
        visible_bins(torch.from_numpy(fovs), 30).numpy(), compute_bin_coverage(fovs, 30)
    )


def test_the_table_in_the_documents_is_what_the_command_gives():
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    lines = list(SHOWN.table_lines())
    assert "\n".join(lines) in page
    for line in lines[2:]:
        assert len(set(line.split("|")[3:-1])) == 1, line
    assert "python scripts/shown_pixels.py" in page
