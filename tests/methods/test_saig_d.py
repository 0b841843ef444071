"""SAIG against its authors' numbers, and its parts against what they are said to be.

That their checkpoints are read, and give their embeddings: ``test_published_checkpoints.py``.
"""

import json
import math

import numpy as np
import pytest
import torch
from tests.methods.checkpoints import HEADS_ALIKE, Published, assert_embeddings
from tests.methods.shared_settings import VIGOR_LAYOUT
from tests.shared_data import shared
from tests.tiny_pairs import write_pairs
from torch.nn.functional import normalize

from crossview import catalogue
from crossview.cli import main
from crossview.errors import InvalidValue, WeightsUnavailable
from crossview.explain.consistency import activation_maps
from crossview.methods import saig_d
from crossview.networks.weight_files import read_weights
from crossview.training.import_weights import (
    Checkpoint,
    KnownNetwork,
    convert_tensors,
    find_settings,
)

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "weights": "none",
    "stem": (8, 8, 8, 16, 16, 16),
    "width": 24,
    "depth": 2,
    "heads": 2,
    "ground_px": (32, 128),
    "aerial_px": (64, 64),
    "batch": 4,
}
LEARNING = {"stem": (16, 16, 16, 32, 32, 32), "width": 48, "heads": 4, "rho": 0.1}
SAIG = {
    "stem": (64, 128, 128, 256, 256, 512),
    "width": 384,
    "depth": 22,
    "heads": 12,
    "head": "smd",
    "rows": 8,
    "ground_px": (128, 512),
    "aerial_px": (256, 256),
    "polar": False,
    "whole": True,
    "loss": "triplet",
    "alpha": 10.0,
    "temperature": 0.02,
    "batch": 32,
    "epochs": 200.0,
    "steps": 0,
    "lr": 1e-4,
    "weight_decay": 0.03,
    "rho": 2.0,
    "adaptive": True,
    "clip_norm": 0.0,
}
RELEASES = {
    "cvusa": SAIG,
    "cvusa-polar": SAIG | {"polar": True, "aerial_px": (128, 512)},
    "cvusa-s": SAIG | {"depth": 11},
    "cvact": SAIG,
    "cvact-polar": SAIG | {"polar": True, "aerial_px": (128, 512)},
    "cvact-s": SAIG | {"depth": 11},
    "vigor": SAIG | VIGOR_LAYOUT | {"loss": "semi-triplet", "epochs": 90.0, "clip_norm": 1.0},
}
SIZES = {"depth": 22, "width": 384, "ground_px": (128, 512), "aerial_px": (256, 256)}
CHECKPOINTS = {
    "saig_d_gap_cvusa": Published(
        shown={**SIZES, "head": "gap"},
        check=assert_embeddings,
        told=(f"heads=12 {HEADS_ALIKE}", "polar=false (unrolled pictures have as many positions"),
    ),
    "saig_d_smd_cvusa": Published(
        shown={**SIZES, "head": "smd", "rows": 8}, check=assert_embeddings
    ),
    "saig_d_smd_vigor": Published(
        "vigor-same",
        shown={**SIZES, "head": "smd", "ground_px": (320, 640), "aerial_px": (320, 320)},
        check=assert_embeddings,
    ),
}
GROUPS = ("n8_rand", "n8_near", "n32_rand", "n32_near")
SMALL = {
    "weights": "none",
    "stem": (4, 4, 4, 8, 8, 8),
    "width": 12,
    "depth": 2,
    "heads": 2,
    "ground_px": (32, 64),
    "aerial_px": (48, 48),
}


def small(**settings):
    return saig_d.Config(**(SMALL | settings))


@pytest.fixture(scope="module")
def official():
    return np.load(shared("parity", "losses.npz"))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        ("triplet", "saig_triplet_diag_kept"),
        ("semi-triplet", "saig_semi_topk"),
        ("info-nce", "saig_infonce_t0.02"),
    ],
)
def test_each_loss_and_its_gradients_are_the_authors(official, group, loss, theirs):
    vectors = {
        view: torch.tensor(official[f"{group}/{view}"], dtype=torch.float64, requires_grad=True)
        for view in ("ground", "aerial")
    }
    (value,) = saig_d.contrast(None, vectors, small(loss=loss)).values()
    value.backward()
    expected = float(official[f"{group}/{theirs}/loss_float64"])
    assert value.item() == pytest.approx(expected, abs=1e-9)
    for view, vector in vectors.items():
        gradient = official[f"{group}/{theirs}/grad_{view}"]
        np.testing.assert_allclose(vector.grad, gradient, atol=1e-6, rtol=1e-4)


def test_info_nce_is_a_loop_over_all_that_share_one_side_with_a_pair():
    torch.manual_seed(0)
    ground, aerial = (normalize(torch.randn(5, 8, dtype=torch.float64), dim=1) for _ in range(2))
    total = 0.0
    for i in range(5):
        logits = [float(ground[i] @ aerial[j]) / 0.1 for j in range(5)]
        logits += [float(ground[j] @ aerial[i]) / 0.1 for j in range(5) if j != i]
        assert len(logits) == 9
        total += math.log(sum(map(math.exp, logits))) - logits[i]
    loss = saig_d.contrast_both_ways(ground, aerial, 0.1)
    assert loss.item() == pytest.approx(total / 5, rel=1e-12)


def test_every_loss_has_the_gradient_of_its_differences():
    torch.manual_seed(0)
    views = [normalize(torch.randn(6, 4, dtype=torch.float64), dim=1) for _ in range(2)]
    for config in (small(loss=loss, temperature=0.2) for loss in saig_d.LOSSES):

        def value(ground, aerial, config=config):
            (found,) = saig_d.contrast(None, {"ground": ground, "aerial": aerial}, config).values()
            return found

        assert torch.autograd.gradcheck(value, [view.requires_grad_() for view in views])


def test_smd_maps_positions_alike_for_every_channel_one_mixture_after_the_other():
    torch.manual_seed(0)
    head, tokens = saig_d.SpatialMixer(6, 2), torch.randn(3, 6, 5)
    found = head(tokens)
    assert found.shape == (3, 10)
    for channel in range(5):
        column = tokens[:, :, channel]
        hidden = torch.nn.functional.gelu(column @ head.wide.weight.T + head.wide.bias)
        rows = head.rows(hidden @ head.narrow.weight.T + head.narrow.bias)
        torch.testing.assert_close(found.view(3, 2, 5)[:, :, channel], rows)


def test_a_block_is_its_input_and_softmax_attention_over_normed_tokens():
    torch.manual_seed(0)
    block, tokens = saig_d.AttentionBlock(8, 2).double().eval(), torch.randn(1, 5, 8).double()
    normed = torch.nn.functional.layer_norm(
        tokens, (8,), block.norm1.weight, block.norm1.bias, eps=1e-6
    )
    query, key, value = block.attn.qkv(normed)[0].split(8, dim=1)
    mixed = torch.zeros(5, 8, dtype=torch.float64)
    for head in (slice(0, 4), slice(4, 8)):
        for token in range(5):
            scores = torch.stack([query[token, head] @ key[o, head] / 2.0 for o in range(5)])
            mixed[token, head] = scores.softmax(0) @ value[:, head]
    torch.testing.assert_close(block(tokens)[0], tokens[0] + block.attn.proj(mixed))
    assert not any("mlp" in name for name, _ in block.named_modules())


@pytest.mark.parametrize(
    ("settings", "millions"),
    [({}, 32.28), ({"head": "gap"}, 31.23), ({"head": "gap", "depth": 11}, 18.20)],
)
def test_the_networks_have_the_published_sizes(settings, millions):
    """15.6 M a branch and about 32.3 M with SMD; 9.1 M a branch of SAIG-S."""
    with torch.device("meta"):
        network = saig_d.AttentionBranches(saig_d.Config(weights="none", **settings))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(("head", "numbers"), [("smd", 8 * 12), ("gap", 12)])
def test_a_vector_is_the_rows_of_smd_or_the_mean_token(head, numbers):
    model = saig_d.build(small(head=head)).eval()
    assert model.ground(torch.rand(2, 3, 32, 64)).shape == (2, numbers)


def test_vigor_counts_the_root_of_the_batch_of_nearest_negatives():
    """Five places: two of the four negatives of every anchor; with two places there is one."""
    torch.manual_seed(0)
    ground, aerial = (normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    config = small(loss="semi-triplet")
    value = saig_d.contrast(None, {"ground": ground, "aerial": aerial}, config)["triplet"]
    cosine = ground @ aerial.T
    terms = []
    for i in range(5):
        for rest in (cosine[i], cosine[:, i]):
            hard = sorted(float(rest[j]) for j in range(5) if j != i)[-2:]
            terms += [math.log1p(math.exp(20 * (h - float(cosine[i, i])))) for h in hard]
    assert value.item() == pytest.approx(sum(terms) / 20, rel=1e-5)
    pair = {"ground": ground[:2], "aerial": aerial[:2]}
    torch.testing.assert_close(
        saig_d.contrast(None, pair, config)["triplet"],
        saig_d.soft_margin_triplet(ground[:2], aerial[:2]),
    )


def test_activation_maps_are_taken_before_its_last_attention():
    """As of other transformers: the last layer in which all tokens still count."""
    torch.manual_seed(0)
    model, images = saig_d.build(small()).eval(), torch.randn(2, 3, 32, 64)
    partner = normalize(torch.randn(2, 96), dim=1)
    maps, cells = activation_maps(model, "ground", images, partner)
    assert (tuple(maps.shape), cells) == ((2, 32, 64), (2, 4))
    assert 0.0 <= float(maps.min()) <= float(maps.max()) <= 1.0


def test_pictures_of_another_size_are_refused_by_name():
    model = saig_d.build(small())
    with pytest.raises(InvalidValue, match=r"takes pictures of 64 x 32 pixels, got 32 x 32"):
        model.ground(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"head": "vlad"}, "head must be one of smd, gap: 'vlad'"),
        ({"loss": "hinge"}, "loss must be one of triplet, info-nce, semi-triplet: 'hinge'"),
        ({"stem": (8, 8)}, r"stem must be 6 numbers of channels, got \[8, 8\]"),
        ({"heads": 7}, "7 attention heads do not divide tokens of 12 numbers"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"rows": 0}, "rows must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be a number above 0, got 0.0"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(InvalidValue, match=said):
        small(**wrong)


def test_there_is_no_silent_random_start():
    with pytest.raises(WeightsUnavailable, match="are on no hub") as told:
        saig_d.build(small(weights="hub"))
    assert "--no-pretrained" in str(told.value)


def pretrained(path, depth=2, side=14):
    """A classifier's file as it is trained on ImageNet: a square table of places, a head."""
    torch.manual_seed(3)
    backbone = saig_d.AttentionBackbone(small(depth=depth), (16 * side, 16 * side))
    state = {**backbone.state_dict(), "head.weight": torch.rand(10, 12)}
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    return backbone


def test_both_branches_start_from_a_file_its_places_resampled_to_their_grids(tmp_path):
    theirs = pretrained(tmp_path / "saig.pth")
    model = saig_d.build(small(weights=str(tmp_path / "saig.pth")))
    for branch, grid in ((model.ground, (2, 4)), (model.aerial, (3, 3))):
        state = branch.backbone.state_dict()
        for key, value in theirs.state_dict().items():
            if key != "pos_embed":
                assert torch.equal(state[key], value)
        square = theirs.pos_embed.detach().reshape(1, 14, 14, 12).permute(0, 3, 1, 2)
        resized = torch.nn.functional.interpolate(square, grid, mode="bicubic", antialias=True)
        torch.testing.assert_close(state["pos_embed"], resized.flatten(2).transpose(1, 2))


def test_a_file_of_another_depth_or_kind_is_refused(tmp_path):
    pretrained(tmp_path / "deep.pth", depth=1)
    torch.save({"fc.weight": torch.rand(3, 3)}, tmp_path / "other.pth")
    for name in ("deep.pth", "other.pth", "none.pth"):
        with pytest.raises(WeightsUnavailable, match=name):
            saig_d.build(small(weights=str(tmp_path / name)))


def theirs(config):
    """A state by the authors' names."""
    state = {}
    for key, value in saig_d.AttentionBranches(config).state_dict().items():
        name = key.replace("ground.", "model_grd.").replace("aerial.", "model_sat.")
        for ours, number in (("wide", 1), ("narrow", 2), ("rows", 3)):
            name = name.replace(f"head.{ours}", f"linear{number}")
        state[name] = value
    return state


def checkpoint(tensors, path):
    whose = (KnownNetwork(name="SAIG", method="saig-d", tensors=saig_d.TENSORS),)
    return Checkpoint(path=path, sha256="", tensors=tensors, whose=whose)


def test_what_a_file_shows_is_said_where_the_settings_do_not_fit(tmp_path):
    file = checkpoint(theirs(small(depth=3, head="gap")), tmp_path / "gap.pth")
    shown = find_settings(saig_d, file)
    assert shown["stem"] == (4, 4, 4, 8, 8, 8)
    assert (shown["depth"], shown["width"], shown["head"]) == (3, 12, "gap")
    with pytest.raises(Exception, match="does not fit these settings") as told:
        convert_tensors(saig_d, file, small())
    assert "--config depth=3 --config head=gap" in str(told.value)
    assert "ground_px (its table has 8 positions" in str(told.value)
    fitting = convert_tensors(saig_d, file, small(depth=3, head="gap"))
    assert set(fitting) == set(saig_d.AttentionBranches(small(depth=3, head="gap")).state_dict())


def test_the_published_settings_train_in_two_passes_and_vigors_with_the_nearest(tmp_path):
    """By the command, with a recipe's own numbers where they are not sizes."""
    csv = write_pairs(tmp_path / "data", 8)
    weights = {}
    for name, more in (("asam", []), ("sam", ["adaptive=false"]), ("plain", ["rho=0"])):
        sizes = {**SMALL, "batch": 4, "steps": 2, "whole": False, "footprint_m": 60.0}
        del sizes["weights"]
        line = ["train", "--method", "saig-d", "--recipe", "vigor", "--data", f"pairs:{csv}"]
        line += ["--out", str(tmp_path / name), "--no-pretrained", "--workers", "0", "--quiet"]
        line += [f"--config={key}={json.dumps(value)}" for key, value in sizes.items()]
        assert main([*line, "--val-share=0", *(f"--config={text}" for text in more)]) == 0
        run = catalogue.open_run(tmp_path / name)
        assert (run.config.loss, run.config.clip_norm) == ("semi-triplet", 1.0)
        weights[name] = read_weights(run.folder.weights).tensors["ground.backbone.norm.weight"]
    assert len({tuple(value.tolist()) for value in weights.values()}) == 3
