"""L2LTR: keys of the layer before, its start from timm's hybrid, and what it refuses.

That its numbers are the authors' is checked in ``test_published_checkpoints.py``, its loss in
``tests/networks/test_losses.py``.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from tests.methods.checkpoints import HEADS_ALIKE, Published, Undrawn, assert_embeddings, outputs
from tests.methods.shared_settings import PLAIN
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import HybridEmbed

from crossview.errors import InvalidValue
from crossview.methods import l2ltr
from crossview.networks.losses import soft_margin_triplet

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "weights": "none",
    "stem": 8,
    "blocks": (1, 1, 1),
    "width": 64,
    "layers": 2,
    "heads": 4,
    "hidden": 128,
    "dropout": 0.0,
    "ground_px": (32, 128),
    "aerial_px": (32, 128),
    "batch": 4,
}
LEARNING = {"layers": 1, "lr": 2e-3}
L2LTR = {
    "ground_px": (128, 512),
    "aerial_px": (128, 512),
    "polar": True,
    "whole": True,
    "stem": 64,
    "blocks": (3, 4, 9),
    "width": 768,
    "layers": 12,
    "heads": 12,
    "hidden": 3072,
    "dropout": 0.1,
    "alpha": 10.0,
    "batch": 32,
    "epochs": 200.0,
    "steps": 0,
    "lr": 1e-4,
    "weight_decay": 0.03,
    "eps": 1e-6,
    "warmup_steps": 500,
    "clip_norm": 1.0,
}
RELEASES = {
    "cvusa": L2LTR,
    "cvusa-plain": L2LTR | PLAIN,
    "cvact": L2LTR,
    "cvact-plain": L2LTR | PLAIN,
}
L2LTR_SIZE = {"stem": 64, "blocks": (3, 4, 9), "width": 768, "hidden": 3072, "layers": 12}


def assert_both_settings(model, arrays, tolerance):
    """The fixture's plain weights are its polar ones, for pictures of another shape."""
    assert_embeddings(model, arrays, tolerance)
    with Undrawn():
        plain = l2ltr.build(l2ltr.Config(weights="none", polar=False, aerial_px=(256, 256)))
    plain.load_state_dict(model.state_dict())
    assert_embeddings(plain.eval(), outputs("l2ltr_nopolar"), tolerance)


CHECKPOINTS = {
    "l2ltr_polar": Published(
        "cvact",
        shown={**L2LTR_SIZE, "aerial_px": (128, 512), "polar": True},
        told=(f"heads=12 {HEADS_ALIKE}", "polar=true (the tables of 128 x 512 and of 256 x 256"),
        check=assert_both_settings,
        tolerance=4.7e-5,  # ten times what the authors' 32 bits are from their 64
    ),
    "l2ltr_nopolar": Published(
        "cvusa-plain",
        shown={**L2LTR_SIZE, "aerial_px": (256, 256), "polar": False},
        check=None,  # whose outputs are compared above
        told=(f"heads=12 {HEADS_ALIKE}", "polar=false (the tables of 128 x 512 and of 256 x 256"),
    ),
}
SMALL = {"stem": 32, "blocks": (1, 1, 1), "width": 24, "heads": 3, "hidden": 48, "dropout": 0.0}
SIZES = {"ground_px": (32, 64), "aerial_px": (32, 64)}


def small(**settings):
    return l2ltr.Config(weights="none", **SMALL, **{**SIZES, "layers": 3, **settings})


def slow_attention(layer, tokens, before):
    """One head, one token at a time."""
    normed, earlier = layer.norm(tokens), layer.key_norm(before)
    query, key, value = layer.query(normed), layer.key(earlier), layer.value(normed)
    mixed = torch.zeros_like(tokens)
    depth = tokens.shape[2] // layer.heads
    for head in range(layer.heads):
        part = slice(head * depth, (head + 1) * depth)
        for b in range(len(tokens)):
            for t in range(tokens.shape[1]):
                scores = [float(query[b, t, part] @ k) / depth**0.5 for k in key[b, :, part]]
                shares = torch.tensor(scores, dtype=tokens.dtype).softmax(0)
                mixed[b, t, part] = shares @ value[b, :, part]
    tokens = tokens + layer.out(mixed)
    return tokens + layer.narrow(F.gelu(layer.wide(layer.wide_norm(tokens))))


def test_keys_are_made_of_what_came_into_the_layer_before():
    torch.manual_seed(0)
    branch = l2ltr.build(small()).ground.double().eval()
    for layer in branch.layers:
        torch.nn.init.normal_(layer.key_norm.weight, 1.0, 0.2)
    images = torch.randn(2, 3, 32, 64, dtype=torch.float64)
    with torch.no_grad():
        patches = branch.patch(branch.resnet(images)).flatten(2).transpose(1, 2)
        first = torch.cat([branch.token.expand(2, -1, -1), patches], dim=1) + branch.places
        second = slow_attention(branch.layers[0], first, first)
        third = slow_attention(branch.layers[1], second, first)
        last = slow_attention(branch.layers[2], third, second)
        vector = F.normalize(branch.norm(last)[:, 0], dim=1)
        torch.testing.assert_close(branch(images), vector)


def hybrid(size_px):
    """A small one of timm, built as its R50+ViT-B is, with the authors' paddings and norms."""
    resnet = ResNetV2(
        layers=[1, 1, 1], channels=(128, 256, 512), stem_chs=32, preact=False, num_classes=0,
        global_pool="",
    )  # fmt: skip
    return VisionTransformer(
        img_size=size_px, embed_layer=partial(HybridEmbed, backbone=resnet), embed_dim=24, depth=1,
        num_heads=3, mlp_ratio=2, num_classes=0, patch_size=1,
    )  # fmt: skip


def test_a_layer_that_starts_from_timms_hybrid_computes_what_timm_does():
    torch.manual_seed(0)
    source = hybrid((64, 64)).eval()
    torch.nn.init.normal_(source.blocks[0].norm1.weight, 1.0, 0.2)
    branch = l2ltr.build(small(layers=1, ground_px=(64, 64))).ground.eval()
    l2ltr.start_from_hybrid(branch, source.state_dict())
    for ours, theirs in zip(
        branch.resnet.modules(), source.patch_embed.backbone.modules(), strict=True
    ):
        for name in ("eps", "num_groups"):
            if hasattr(theirs, name):
                setattr(ours, name, getattr(theirs, name))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        theirs = F.normalize(source(images), dim=1)
        torch.testing.assert_close(branch(images), theirs)


def test_the_position_table_is_resized_to_the_pictures():
    source = hybrid((64, 64))
    branch = l2ltr.build(small(layers=1)).ground
    l2ltr.start_from_hybrid(branch, source.state_dict())
    assert branch.places.shape == (1, 1 + 2 * 4, 24)
    torch.testing.assert_close(branch.places[:, 0], source.pos_embed[:, 0])


def test_weights_of_other_widths_are_refused():
    branch = l2ltr.build(small(layers=2)).ground
    with pytest.raises(
        InvalidValue, match=r"do not fit these widths and depths[\s\S]*no-pretrained"
    ):
        l2ltr.start_from_hybrid(branch, hybrid((32, 64)).state_dict())


def test_the_diagonal_adds_a_constant_to_the_loss():
    torch.manual_seed(0)
    ground, aerial = (F.normalize(torch.randn(6, 8), dim=1) for _ in range(2))
    kept = soft_margin_triplet(ground, aerial, keep_diagonal=True)
    without = soft_margin_triplet(ground, aerial)
    assert float(kept - without) == pytest.approx(torch.log(torch.tensor(2.0)).item() / 5, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stem": 24}, "stem must be 8, 16 or a multiple of 32, got 24"),
        ({"heads": 5}, "5 attention heads do not divide tokens of 24 numbers"),
        ({"blocks": (1, 0, 1)}, "blocks must be 1 or more"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"ground_px": (30, 64)}, "multiples of 16 pixels, got 64 x 30"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(InvalidValue, match=said):
        l2ltr.build(l2ltr.Config(**{"weights": "none", "layers": 1, **SMALL, **SIZES, **settings}))


def test_pictures_of_another_size_are_refused():
    with pytest.raises(InvalidValue, match="its tokens belong to positions"):
        l2ltr.build(small(layers=1)).ground(torch.zeros(1, 3, 32, 32))
