import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.training.tiny import request, trained

from crossview.errors import BadModel, TrainingFailed
from crossview.pairs.batch import to_batch
from crossview.pairs.loading import Loader
from crossview.training.contract import TrainingRecipe
from crossview.training.loop import epoch_order, train_steps
from crossview.training.session import prepare, start_state
from crossview.training.train_state import load_state, make_state, read_saved_step, save_state


def first_reports(session, count, state=None):
    state = state or start_state(session)
    with Loader(session.reader, 0) as loader:
        return [r for r, _ in zip(train_steps(state, session.job, loader), range(count))]  # noqa: B905


def with_objective(session, objective):
    names = {name: getattr(session.job.method, name) for name in ("batches", "augment", "build")}
    method = SimpleNamespace(**names, objective=objective)
    return replace(session, job=replace(session.job, method=method))


def test_the_loop_can_be_left_after_any_report(tmp_path):
    reports = first_reports(prepare(request(tmp_path)), 3)
    assert [report.step for report in reports] == [1, 2, 3]
    assert reports[0].steps == 8
    assert reports[0].pairs == 4
    assert np.isfinite(reports[0].losses["loss"])


def test_the_same_seed_gives_the_same_training_and_another_does_not(tmp_path):
    def losses(**settings):
        session = prepare(request(tmp_path, out=f"run{len(list(tmp_path.iterdir()))}", **settings))
        return [report.losses["loss"] for report in first_reports(session, 4)]

    assert losses(seed=1) == losses(seed=1) != losses(seed=2)


def test_training_lowers_the_loss(tmp_path):
    _, reports = trained(request(tmp_path, steps=80, lr=1e-2))
    losses = [report.losses["loss"] for report in reports]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_accumulated_batches_have_the_gradient_of_their_mean(tmp_path):
    session = prepare(request(tmp_path))
    recipe = replace(session.job.recipe, accumulate=2, amp=False)
    job = replace(session.job, recipe=recipe)
    report = first_reports(replace(session, job=job), 1)[0]
    model = start_state(session).model
    with Loader(session.reader, 0) as loader:
        raws = list(loader.epoch(0, epoch_order(job, 0, None)))[:2]
    means = [
        job.method.objective(model, to_batch(raw, job.views, job.device), job.config)
        for raw in raws
    ]
    (sum(sum(losses.values()) for losses in means) / 2).backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()
    assert report.pairs == 8
    assert report.gradient_norm == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, bad):
    def objective(model, batch, config):
        return {"broken": model.scale * bad}

    session = with_objective(prepare(request(tmp_path)), objective)
    with pytest.raises(TrainingFailed, match=r"Step 1: .*broken .*not finite"):
        first_reports(session, 1)


def test_too_few_pairs_for_one_batch_are_refused(tmp_path):
    with pytest.raises(
        TrainingFailed, match="3 training pairs of 3 places do not fill one batch of 4"
    ):
        first_reports(prepare(request(tmp_path, places=3)), 1)


def test_every_report_is_a_line_of_the_log(tmp_path):
    session, reports = trained(request(tmp_path))
    lines = [json.loads(line) for line in session.folder.log.read_text().splitlines()]
    assert [line["loss"] for line in lines] == [report.losses["loss"] for report in reports]
    assert {"step", "epoch", "lr", "gradient_norm", "seconds"} <= set(lines[0])


def test_averaged_weights_follow_the_rule_written_out():
    model = torch.nn.Linear(2, 1, bias=False)
    state = make_state(model, TrainingRecipe(ema_decay=0.5))
    slow = model.weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            model.weight.add_(float(step))
        state.step = step
        keep = min(0.5, (1 + step) / (10 + step))
        slow = keep * slow + (1 - keep) * model.weight.detach()
        state.average(0.5)
    torch.testing.assert_close(state.averaged["weight"], slow)


def test_evaluating_uses_the_average_and_gives_the_weights_back():
    model = torch.nn.Linear(2, 1)
    state = make_state(model, TrainingRecipe(ema_decay=0.5))
    own = model.weight.detach().clone()
    state.averaged["weight"].zero_()
    with state.evaluation_mode() as evaluated:
        assert evaluated.weight.abs().sum() == 0
        assert not evaluated.training
    assert torch.equal(model.weight, own)
    assert model.training


def test_biases_and_scales_are_decayed_only_on_request():
    model = torch.nn.Linear(2, 1)

    def decays(recipe):
        groups = make_state(model, recipe).optimiser.param_groups
        return {p.ndim: group["weight_decay"] for group in groups for p in group["params"]}

    assert decays(TrainingRecipe(weight_decay=0.1)) == {2: 0.1, 1: 0.0}
    assert decays(TrainingRecipe(weight_decay=0.1, decay_vectors=True)) == {2: 0.1, 1: 0.1}


def test_gradient_descent_adds_up_what_is_left_of_earlier_gradients():
    """v <- momentum v + g + decay w, w <- w - rate v: the decay is of the gradient."""
    model = torch.nn.Linear(3, 2, bias=False)
    recipe = TrainingRecipe(optimiser="sgd", momentum=0.8, weight_decay=0.1, lr=0.5)
    state, weight = make_state(model, recipe), model.weight.detach().clone()
    speed = torch.zeros_like(weight)
    for step in range(3):
        gradient = torch.full((2, 3), 0.1 * step)
        model.weight.grad = gradient
        state.optimiser.step()
        speed = 0.8 * speed + gradient + 0.1 * weight
        weight = weight - 0.5 * speed
        torch.testing.assert_close(model.weight.detach(), weight)


def stepped_state(seed=0, **settings):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    model = model.to(memory_format=torch.channels_last)
    state = make_state(model, TrainingRecipe(ema_decay=0.9, **settings))
    model(torch.rand(2, 3, 8, 8)).square().mean().backward()
    state.optimiser.step()
    return state


@pytest.mark.parametrize(
    ("optimiser", "moment"), [("adamw", "exp_avg"), ("sgd", "momentum_buffer")]
)
def test_a_saved_state_comes_back_bit_by_bit_and_in_the_same_memory_order(
    tmp_path, optimiser, moment
):
    state, other = stepped_state(optimiser=optimiser), stepped_state(1, optimiser=optimiser)
    state.step, state.epoch, state.position = 7, 2, 3
    state.neighbours = np.arange(6).reshape(3, 2)
    save_state(state, tmp_path / "s.safetensors")
    load_state(other, tmp_path / "s.safetensors")
    assert (read_saved_step(tmp_path / "s.safetensors"), read_saved_step(tmp_path / "absent")) == (
        7,
        0,
    )
    assert (other.step, other.epoch, other.position) == (7, 2, 3)
    assert np.array_equal(other.neighbours, state.neighbours)
    moments = [s.optimiser.state_dict()["state"][0][moment] for s in (state, other)]
    assert torch.equal(*moments)
    assert moments[0].stride() == moments[1].stride()
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])
        assert torch.equal(state.averaged[name], other.averaged[name])


def test_a_state_is_never_unpickled_and_a_damaged_one_is_refused(tmp_path):
    torch.save({"model": 1}, tmp_path / "s.safetensors")
    with pytest.raises(BadModel, match="its safetensors are damaged or cut short"):
        load_state(stepped_state(), tmp_path / "s.safetensors")


def test_a_state_of_another_network_is_refused(tmp_path):
    save_state(stepped_state(), tmp_path / "s.safetensors")
    other = make_state(torch.nn.Linear(2, 2), TrainingRecipe())
    with pytest.raises(BadModel, match="do not fit the network"):
        load_state(other, tmp_path / "s.safetensors")
