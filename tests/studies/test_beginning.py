"""A masked network begins from the encoder of another training."""

import torch
from safetensors.torch import save_file

from crossview.catalogue import configure, make_config, method_page
from crossview.studies.running import fill_from_start

TRUNK = ".trunk."


def test_masks_begin_from_the_trunk_of_a_whole_encoder(tmp_path):
    """Both trunks get the stem and the first three stages; the last stage stays behind."""
    page = method_page("sample4geo").load()
    small = {"backbone": "test_convnext", "weights": "none", "ground_px": (32, 64), "aerial_px": 64}
    torch.manual_seed(1)
    whole = page.build(make_config(page, small)).state_dict()
    whole["logit_scale"] = torch.tensor(1.5)
    save_file(whole, tmp_path / "model.safetensors")
    padded = {"architecture": "geodtr-plus", "representation": "padded"}
    ref, config = configure("sample4geo", {**small, **padded})
    masked = ref.load().build(config)
    fill_from_start(masked, tmp_path / "model.safetensors", (TRUNK, "logit_scale"))
    state = masked.state_dict()
    assert state["logit_scale"] == 1.5
    for side in ("ground", "aerial"):
        for stage in range(3):
            tensors = {
                name.removeprefix(f"{side}.trunk.stages.stage{stage + 1}."): tensor
                for name, tensor in state.items()
                if name.startswith(f"{side}.trunk.stages.stage{stage + 1}.")
            }
            assert tensors
            for name, tensor in tensors.items():
                assert torch.equal(tensor, whole[f"model.stages.{stage}.{name}"])
        stem = state[f"{side}.trunk.stages.stem.0.weight"]
        assert torch.equal(stem, whole["model.stem.0.weight"])
