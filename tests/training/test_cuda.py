"""What must hold on a GPU as on a CPU; `scripts/on_gpu.sh` runs these where there is one."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.training.tiny import request, trained

from crossview.methods import geodtr_plus, sample4geo, singeo
from crossview.training.contract import count_copies, example_batch
from crossview.training.device import lay_out, open_device
from crossview.training.loop import Objective, backward

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CPU = torch.device("cpu")
SMALL = {"weights": "none", "aerial_px": 64, "ground_px": (32, 192)}
PAGES = {
    "singeo": (singeo, singeo.Config(backbone="test_convnext", **SMALL)),
    "sample4geo": (sample4geo, sample4geo.Config(backbone="test_convnext", **SMALL)),
    "geodtr-plus": (
        geodtr_plus,
        geodtr_plus.Config(
            backbone="convnext_zepto_rms",
            weights="none",
            ground_px=(64, 256),
            aerial_px=(64, 256),
            drop_path=0.0,
            dropout=0.0,
            counterfactual=0.0,  # its random masks are drawn otherwise on a GPU
        ),
    ),
}


def passed(name, device, *, amp=False, double=True, chunk=0):
    """Losses and gradients of one batch of noise, the same numbers on every device."""
    page, config = PAGES[name]
    torch.manual_seed(3)
    model = page.build(config)
    batch = example_batch(page.views(config), CPU, count_copies(page, config)).to(device)
    if double:
        model, batch = model.double().to(device), in_double(batch)
    else:
        model = lay_out(model, device)
    objective = Objective(page=page, config=config, amp=amp, chunk=chunk)
    torch.manual_seed(5)
    losses = backward(model, batch, objective).losses
    gradients = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
    return losses["loss"], torch.cat(gradients)


def in_double(batch):
    more = tuple(in_double(copy) for copy in batch.more)
    return replace(batch, ground=batch.ground.double(), aerial=batch.aerial.double(), more=more)


@pytest.fixture
def gpu():
    return open_device("cuda")


@pytest.mark.parametrize("name", PAGES)
def test_losses_and_gradients_are_those_of_a_cpu(gpu, name):
    there, here = passed(name, gpu), passed(name, CPU)
    assert there[0] == pytest.approx(here[0], rel=1e-6)
    assert torch.nn.functional.cosine_similarity(there[1], here[1], dim=0) > 1 - 1e-6


@pytest.mark.parametrize("name", PAGES)
def test_bfloat16_stays_near(gpu, name):
    mixed, exact = passed(name, gpu, amp=True, double=False), passed(name, gpu)
    assert mixed[0] == pytest.approx(exact[0], rel=0.02)
    assert torch.nn.functional.cosine_similarity(mixed[1].double(), exact[1], dim=0) > 0.98


@pytest.mark.parametrize("name", ["singeo", "sample4geo"])
def test_chunks_change_nothing(gpu, name):
    whole, chunked = passed(name, gpu), passed(name, gpu, chunk=2)
    assert chunked[0] == pytest.approx(whole[0], rel=1e-6)
    assert torch.nn.functional.cosine_similarity(chunked[1], whole[1], dim=0) > 1 - 1e-6


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    session, _ = trained(request(tmp_path, out="whole", device="cuda"))
    trained(request(tmp_path, out="killed", device="cuda"), stop_after=5)
    again, _ = trained(request(tmp_path, out="killed", device="cuda"))
    one, other = load_file(session.folder.weights), load_file(again.folder.weights)
    assert all(torch.equal(one[name], other[name]) for name in one)
