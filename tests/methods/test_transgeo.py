"""TransGeo: against its authors' numbers, and its second stage from the first to a place."""

import json

import numpy as np
import pytest
import torch
from tests.index.regions import region
from tests.parity_weights import listed, seeded_input
from tests.shared_data import shared
from tests.tiny_pairs import write_pairs
from torch import nn

from crossview import catalogue
from crossview.cli import main
from crossview.errors import WeightsUnavailable
from crossview.methods import transgeo
from crossview.training.contract import TrainingRecipe, example_batch
from crossview.training.cost import count_cost
from crossview.training.export import reopen
from crossview.training.session import build_without_weights
from crossview.training.train_state import load_weights, make_state

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "weights": "none",
    "width": 16,
    "layers": 2,
    "heads": 2,
    "dim": 16,
    "ground_px": (32, 128),
    "aerial_px": (64, 64),
    "batch": 4,
}
LEARNING = {"width": 48, "heads": 4, "dim": 64, "rho": 0.1, "lr": 3e-4, "steps": 80}
TRANSGEO = {
    "backbone": "deit_small_distilled_patch16_224.fb_in1k",
    "width": 384,
    "layers": 12,
    "heads": 6,
    "dim": 1000,
    "ground_px": (112, 616),
    "aerial_px": (256, 256),
    "whole": True,
    "keep": 1.0,
    "alpha": 10.0,
    "batch": 32,
    "epochs": 100,
    "steps": 0,
    "lr": 1e-4,
    "weight_decay": 0.03,
    "decay_vectors": True,
    "schedule": "epochs",
    "rho": 2.5,
    "adaptive": True,
    "refresh_epochs": 1,
    "mine_from": "epoch",
    "neighbour_range": 100,
}
TRANSGEO_VIGOR = {"ground_px": (320, 640), "aerial_px": (320, 320), "batch": 16, "epochs": 50}
ZOOM = {"keep": 0.64, "epochs": 50, "attended_px": (256, 256), "aerial_px": (320, 320)}
ZOOM_VIGOR = ZOOM | {"attended_px": (320, 320), "aerial_px": (400, 400)}
RELEASES = {
    **{name: TRANSGEO for name in ("cvusa", "cvact")},
    **{f"{name}-stage2": TRANSGEO | ZOOM | {"lr": 1e-5} for name in ("cvusa", "cvact")},
    "vigor": TRANSGEO | TRANSGEO_VIGOR | {"lr": 5e-5},
    "vigor-stage2": TRANSGEO | TRANSGEO_VIGOR | ZOOM_VIGOR | {"lr": 5e-6},
}
CHECKPOINTS = {
    "transgeo_cvusa_stage1": None,
    "transgeo_cvusa_stage2_res320": None,
    "transgeo_vigor_stage1": None,
}
ONE, TWO, VIGOR = "transgeo_cvusa_stage1", "transgeo_cvusa_stage2_res320", "transgeo_vigor_stage1"
SMALL = {
    "weights": "none",
    "width": 16,
    "layers": 2,
    "heads": 2,
    "dim": 12,
    "ground_px": (32, 72),
    "aerial_px": (32, 32),
    "batch": 4,
}
SECOND = {"aerial_px": (64, 64), "attended_px": (32, 32), "keep": 0.5}


def small(**settings):
    return transgeo.Config(**{**SMALL, **settings})


def stripped(name):
    """A checkpoint as it is once the reader has dropped ``module.``."""
    return {key.removeprefix("module."): value for key, value in listed(name).items()}


def filled(theirs, recipe, **settings):
    """The network of a recipe with the authors' tensors; none may be missing or left over."""
    published = catalogue.recipe("transgeo", recipe)
    config = transgeo.Config(**{**published, **transgeo.shown(theirs), **settings})
    assert {key: getattr(config, key) for key in published} == {
        key: tuple(value) if isinstance(value, list) else value for key, value in published.items()
    }
    model = build_without_weights(transgeo, config).eval()
    model.load_state_dict(transgeo.imported(theirs, config))
    return model


def assert_embeds(model, name, **given):
    data = np.load(shared("parity", "transgeo.npz"))
    for side in ("ground", "aerial"):
        images = seeded_input(data[f"{name}/input_{side}_seed_then_shape"])
        branch, theirs = getattr(model, side), torch.tensor(data[f"{name}/embedding_{side}"])
        with torch.no_grad():
            ours = branch.embed(images, **(given if side == "aerial" else {}))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_both_stages_of_cvusa_give_the_authors_embeddings(tmp_path):
    """The second reads the first's checkpoint too, of whose encoder its crop comes."""
    theirs = stripped(ONE)
    first = filled(theirs, "cvusa")
    assert_embeds(first, ONE)
    file = tmp_path / "first.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.items()}}, file)
    second = filled(stripped(TWO), "cvusa-stage2", weights=str(file))
    seed, *shape = np.load(shared("parity", "transgeo.npz"))[f"{TWO}/attention_seed_then_shape"]
    given = np.random.Generator(np.random.PCG64(seed)).uniform(0, 1, shape).astype(np.float32)
    assert second.aerial.kept == 256
    assert_embeds(second, TWO, attention=torch.tensor(given)[:, 0])
    own = first.aerial.encoder.state_dict()
    kept = second.aerial.attender.state_dict().items()
    assert all(torch.equal(value, own[name]) for name, value in kept)
    with torch.no_grad():
        picture = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
        assert torch.equal(
            second.aerial.attender.attend(picture), first.aerial.encoder.attend(picture)
        )


def test_vigors_first_stage_gives_the_authors_embeddings():
    assert_embeds(filled(stripped(VIGOR), "vigor"), VIGOR)


def unfilled(path, name):
    """A checkpoint of the right shapes and no size, as the authors' script saves it."""
    file = shared("parity", "checkpoints", f"{name}.json")
    (section,) = json.loads(file.read_text(encoding="utf-8"))["sections"].values()
    state = {key: torch.zeros(()).expand(shape) for key, shape, _ in section["entries"]}
    torch.save({"epoch": 3, "state_dict": state, "best_acc1": np.float64(0.9)}, path)
    return str(path)


def test_a_second_stage_is_imported_with_the_first_or_says_what_to_give(tmp_path, capsys):
    line = ["import", "transgeo", unfilled(tmp_path / "theirs.pth", TWO), "--trained-on", "cvusa"]
    line += ["--out", str(tmp_path / "run")]
    assert main(line) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "is in another checkpoint. Name that file, or its run: --config weights=FILE" in said
    assert not (tmp_path / "run").exists()
    first = unfilled(tmp_path / "first.pth", ONE)
    assert main([*line, "--config", f"weights={first}"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "heads=6 (the shapes are alike for any number of attention heads)" in said
    assert "keep=0.64 (so large an aerial picture is the second stage's" in said
    config = catalogue.open_run(tmp_path / "run").config
    assert (config.aerial_px, config.keep, config.attended_px) == ((320, 320), 0.64, (256, 256))


@pytest.mark.parametrize(
    ("group", "raw"),
    [
        *((f"{size}_{kind}", "") for size in ("n8", "n32") for kind in ("rand", "near")),
        *(("n8_rand", "raw_"), ("n32_rand", "raw_")),
    ],
)
def test_the_loss_and_its_gradients_are_those_of_the_authors_code(group, raw):
    """Theirs brings vectors to length 1 itself, ours before; here both are differentiated."""
    data = np.load(shared("parity", "losses.npz"))
    name = f"{group}/{raw}transgeo_softtriplet"
    given = {
        side: torch.tensor(data[f"{group}/{raw}{side}"], dtype=torch.float64, requires_grad=True)
        for side in ("ground", "aerial")
    }
    vectors = {side: nn.functional.normalize(value, dim=1) for side, value in given.items()}
    loss = transgeo.contrast(None, vectors, transgeo.Config())["triplet"]
    loss.backward()
    assert loss.item() == pytest.approx(float(data[f"{name}/loss"]), rel=1e-5, abs=1e-8)
    for side, values in given.items():
        theirs = data[f"{name}/grad_{side}"]
        np.testing.assert_allclose(values.grad, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("sizes", [(320, 256), (400, 320), (16, 20), (20, 25), (37, 10), (9, 31)])
def test_resizing_as_a_product_is_that_of_torch(sizes):
    before, after = sizes
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, 1, before, before + 3, generator=generator, dtype=torch.float64)
    rows, columns = (transgeo.make_resizing(n, after).double() for n in (before, before + 3))
    theirs = nn.functional.interpolate(
        picture, (after, after), mode="bilinear", antialias=after < before
    )  # upwards the two are the same
    torch.testing.assert_close(rows @ picture @ columns.T, theirs, rtol=0, atol=1e-6)


def test_attention_is_that_of_the_last_layers_two_tokens():
    """Against the softmax that timm's own block makes, summed by loops."""
    torch.manual_seed(0)
    encoder = transgeo.DistilledTransformer(small(), (32, 48)).eval().requires_grad_(False)
    images = torch.randn(2, 3, 32, 48)
    attention = encoder.transformer.blocks[-1].attn
    attention.fused_attn = False
    looks = []
    hook = attention.attn_drop.register_forward_hook(lambda part, given, made: looks.append(made))
    encoder(images)
    hook.remove()
    expected = np.zeros((2, 6))
    for picture in range(2):
        for patch in range(6):
            for head in range(2):
                for token in range(2):
                    expected[picture, patch] += float(looks[0][picture, head, token, 2 + patch])
        expected[picture] /= max(expected[picture])
    ours = encoder.attend(images).numpy()
    assert ours.shape == (2, 2, 3)
    assert np.allclose(ours.reshape(2, 6), expected, atol=1e-6)


def test_the_crop_keeps_the_most_attended_patches_with_their_own_positions():
    """Grey everywhere else, or not there at all: the vector of the kept patches is the same."""
    torch.manual_seed(0)
    config = small(**SECOND)
    branch = transgeo.build(config).eval().aerial
    attention = torch.tensor([[[0.1, 0.9], [0.2, 0.3]]])  # of 2 x 2 patches, for 4 x 4
    kept = branch.choose(attention)[0].tolist()
    spread = nn.functional.interpolate(attention[None], (4, 4), mode="bilinear").flatten().tolist()
    assert kept == sorted(sorted(range(16), key=lambda patch: -spread[patch])[:8])
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    for patch in set(range(16)) - set(kept):
        row, column = divmod(patch, 4)
        changed[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 7.0
    with torch.no_grad():
        same = branch.embed(images, attention), branch.embed(changed, attention)
        all_of_it = branch.encoder(images)
    assert torch.equal(*same)
    assert not torch.allclose(same[0], all_of_it)


def test_the_encoder_that_chooses_is_never_trained():
    config = small(**SECOND)
    model = transgeo.build(config)
    state = make_state(model, TrainingRecipe(lr=1e-2, batch=4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = example_batch(transgeo.views(config), torch.device("cpu"))
    sum(transgeo.objective(model, batch, config).values()).backward()
    state.optimiser.step()
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert {n for n in before if ".attender." in n}.isdisjoint(moved)
    assert any(name.startswith("aerial.encoder.") for name in moved)


def test_it_costs_what_is_published_of_it_as_far_as_that_can_be_told():
    """44.0 M, 11.35 G: what of it is counted here stands in docs/methods/transgeo.md."""

    def counted(recipe):
        config = catalogue.configure("transgeo", {**catalogue.recipe("transgeo", recipe)})[1]
        with torch.device("meta"):
            model = build_without_weights(transgeo, config)
        return count_cost(model, transgeo.views(config))

    first, second = counted("cvusa"), counted("cvusa-stage2")
    assert first.parameters == 44_922_784
    unseen = 384 * 384 + 384 + 2 * 384 + 2 * 384 * 1536 + 1536 + 384  # of the last layer
    unseen += 2 * 384 + 2 * (384 * 1000 + 1000)  # the norm and the heads behind it
    assert second.parameters == 44_978_080 + first.aerial.parameters - unseen
    assert counted("vigor").parameters == 45_183_136
    products = 2 * 12 * 384 * ((266 + 2) ** 2 + (256 + 2) ** 2)  # which counters of modules miss
    assert (first.macs - products) / 1e9 == pytest.approx(11.325, abs=1e-3)


def trained(folder, out, *more):
    config = {**SMALL, "steps": 6}
    line = ["train", "--method", "transgeo", "--data", f"pairs:{folder / 'data' / 'pairs.csv'}"]
    line += ["--out", str(folder / out), "--device", "cpu", "--workers", "0", "--val-share", "0"]
    line += ["--save-every", "1", "--config", "amp=true"]
    for name, value in config.items():
        if name != "weights":
            shown = list(value) if isinstance(value, tuple) else value
            line += ["--config", f"{name}={json.dumps(shown)}"]
    return main([*line, "--quiet", *more])


def weights_of(folder):
    return (folder / "model.safetensors").read_bytes(), (folder / "state.safetensors").read_bytes()


def test_the_second_stage_starts_from_a_run_of_the_first_and_finds_places(tmp_path, capsys):
    """Both by ASAM and with mining; the second is left in its middle; exported, indexed, asked."""
    write_pairs(tmp_path / "data", 24)
    assert trained(tmp_path, "first", "--no-pretrained") == 0
    begun = catalogue.open_run(tmp_path / "first")
    first = build_without_weights(begun.page, begun.config)
    load_weights(first, begun.folder.weights)
    second = [f"--config={name}={json.dumps(value)}" for name, value in SECOND.items()]
    second += ["--weights", str(tmp_path / "first")]
    assert trained(tmp_path, "whole", *second) == 0
    assert trained(tmp_path, "left", *second, "--until", "2") == 0
    assert trained(tmp_path, "left", *second) == 0
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "left")
    run = catalogue.open_run(tmp_path / "whole")
    model = build_without_weights(run.page, run.config)
    load_weights(model, run.folder.weights)
    theirs = first.aerial.encoder.state_dict()
    for name, value in model.aerial.attender.state_dict().items():
        assert torch.equal(theirs[name], value)
    (tmp_path / "first" / "model.safetensors").unlink()  # what it gave goes along
    assert main(["export", str(tmp_path / "whole"), "--out", str(tmp_path / "model")]) == 0
    folder, own = tmp_path / "model", model.state_dict()
    reopened = reopen(folder, run.page, run.config, run.views)  # to adapt it to a region
    assert all(torch.equal(value, own[name]) for name, value in reopened.state_dict().items())
    map_file = region(tmp_path)
    index = str(tmp_path / "map.cvx")
    assert main(["index", str(map_file), "--model", str(tmp_path / "model"), "--out", index]) == 0
    photo = str(tmp_path / "data" / "g0.png")
    capsys.readouterr()
    assert main(["locate", photo, "--index", index, "--fov", "360"]) == 0
    assert capsys.readouterr().out


def test_the_second_stage_begins_where_the_first_ended(tmp_path):
    """The same weights; the aerial positions resampled as timm does."""
    from safetensors.torch import save_file
    from timm.layers import resample_abs_pos_embed

    torch.manual_seed(0)
    first = transgeo.build(small())
    file = tmp_path / "first.safetensors"
    save_file(first.state_dict(), file)
    second = transgeo.build(small(**{**SECOND, "weights": str(file)}))
    ours, theirs = second.state_dict(), first.state_dict()
    table = "aerial.encoder.transformer.pos_embed"
    for name, value in theirs.items():
        if name != table:
            assert torch.equal(ours[name], value)
    expected = resample_abs_pos_embed(theirs[table], [4, 4], [2, 2], num_prefix_tokens=2)
    torch.testing.assert_close(ours[table], expected)
    again = tmp_path / "second.safetensors"
    save_file(second.state_dict(), again)
    for wrong, said in (
        ({"weights": str(again)}, "is of a second stage already"),
        ({"weights": str(file), "attended_px": (48, 48)}, "is no first stage of these settings"),
        ({"weights": "hub"}, "starts from a run of the first"),
        ({"weights": str(tmp_path / "nowhere")}, "cannot be read"),
    ):
        with pytest.raises(WeightsUnavailable, match=said):
            transgeo.build(small(**{**SECOND, **wrong}))
    other = tmp_path / "other.safetensors"
    save_file({"stem.weight": torch.zeros(2)}, other)
    with pytest.raises(WeightsUnavailable, match=r"is no first stage of TransGeo"):
        transgeo.build(small(**{**SECOND, "weights": str(other)}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"keep": 0.0}, "keep is a share above 0"),
        ({"keep": 1.5}, "keep is a share above 0"),
        ({"heads": 5}, "width must be a multiple of heads"),
        ({"layers": 0}, "layers must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        small(**wrong)
