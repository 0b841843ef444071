"""Parts that are trained against each other: one turn of every player a step."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch
from tests.training.tiny import PAGE, SMALL, request, trained

from crossview.catalogue import make_config
from crossview.errors import InvalidValue
from crossview.pairs.batch import to_batch
from crossview.pairs.loading import Loader
from crossview.pairs.page_ref import PageRef
from crossview.training.contract import check_objective
from crossview.training.loop import epoch_order, train_steps
from crossview.training.session import prepare, start_state

GAME = '''

def play(model, batch, config):
    """The ground branch learns first, then the aerial one, from the ground branch as it is then."""
    aerial = model.aerial(batch.aerial)
    yield "ground", {"first": info_nce(model.ground(batch.ground), aerial, model.scale)}
    yield "aerial", {"second": info_nce(model.ground(batch.ground), aerial, model.scale)}


def player(name, config):
    return "ground" if name.startswith("ground.") else "aerial"
'''
STAGED = """

def staged(config, moment, rng):
    return replace(config, width=moment.epoch)


def objective(model, batch, config):
    return {"epoch": config.width + 0.0 * model.scale}
"""


def asked(folder, added=GAME, out="run", **settings):
    """A training of the documents' page with ``added`` to it."""
    page = folder / "page.py"
    page.write_text(PAGE.read_text(encoding="utf-8") + added, encoding="utf-8")
    ref = PageRef.of_file(page)
    config = make_config(ref.load(), SMALL | settings)
    return replace(request(folder, out=out), page=ref, config=config)


def play_by_hand(session, steps, accumulate):
    """The same training with an optimiser of its own for every player, written out."""
    job, model = session.job, start_state(session).model.train()
    ground = list(model.ground.parameters())
    aerial = [*model.aerial.parameters(), model.scale]
    made = {"betas": (job.recipe.beta1, 0.999), "weight_decay": 0.0}
    first, second = (torch.optim.AdamW(part, **made) for part in (ground, aerial))
    loss = job.method.info_nce
    with Loader(session.reader, 0) as loader:
        raws = list(loader.epoch(0, epoch_order(job, 0, None)))
    for step in range(steps):
        some = raws[step * accumulate : (step + 1) * accumulate]
        batches = [to_batch(raw, job.views, job.device) for raw in some]
        for optimiser in (first, second):
            model.zero_grad()
            for batch in batches:
                sides = model.ground(batch.ground), model.aerial(batch.aerial)
                (loss(*sides, model.scale) / accumulate).backward()
            optimiser.param_groups[0]["lr"] = job.recipe.lr_at(step, len(job.table))
            optimiser.step()
    return model


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_turn_moves_its_player_alone_and_the_next_sees_it_moved(tmp_path, accumulate):
    session = prepare(asked(tmp_path, weight_decay=0.0))
    recipe = replace(session.job.recipe, accumulate=accumulate, amp=False, beta1=0.5)
    session = replace(session, job=replace(session.job, recipe=recipe))
    state = start_state(session)
    with Loader(session.reader, 0) as loader:
        reports = list(islice(train_steps(state, session.job, loader), 3))
    by_hand = play_by_hand(session, 3, accumulate)
    for (name, ours), theirs in zip(
        state.model.named_parameters(), by_hand.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7, msg=name)
    losses = reports[0].losses
    assert losses["loss"] == pytest.approx(losses["first"] + losses["second"])
    assert losses["second"] < losses["first"]  # of the same batch, after the first turn


def test_a_game_that_is_killed_goes_on_bit_for_bit(tmp_path):
    whole = trained(asked(tmp_path, out="whole"))[0].folder
    left = asked(tmp_path, out="left")
    trained(left, stop_after=5)  # saved every 3 steps
    folder = trained(left)[0].folder
    for name in ("weights", "state"):
        assert getattr(folder, name).read_bytes() == getattr(whole, name).read_bytes()


def test_the_norm_is_that_of_all_turns_and_each_is_clipped_on_its_own(tmp_path):
    def train(clip):
        session = prepare(asked(tmp_path, out=f"clip{clip}"))
        recipe = replace(session.job.recipe, clip_norm=clip, amp=False)
        session = replace(session, job=replace(session.job, recipe=recipe))
        state, norms = start_state(session), []
        step = state.optimiser.step

        def note():
            parts = [p.grad.norm() for p in state.model.parameters() if p.grad is not None]
            norms.append(float(torch.stack(parts).norm()))
            step()

        state.optimiser.step = note
        with Loader(session.reader, 0) as loader:
            return next(train_steps(state, session.job, loader)).gradient_norm, norms

    norm, free = train(0.0)
    assert norm == pytest.approx((free[0] ** 2 + free[1] ** 2) ** 0.5)
    limit = min(free) / 2
    assert train(limit)[1] == pytest.approx([limit, limit], rel=1e-4)


@pytest.mark.parametrize("name", ["chunk", "rho"])
def test_settings_of_one_sum_are_refused_before_anything_is_written(tmp_path, name):
    with_setting = GAME.replace("def play", f"Config.{name} = 2\n\n\ndef play")
    with pytest.raises(InvalidValue, match=f"{name}=2 is for a method that minimises one sum"):
        prepare(asked(tmp_path, with_setting))
    assert not (tmp_path / "run").exists()


def test_losses_are_computed_with_the_config_of_their_batchs_moment(tmp_path):
    """24 pairs in batches of 4: epochs of six steps, also where a training was left."""
    settings = {"added": STAGED, "out": "left"}
    seen = [r.losses["epoch"] for r in trained(asked(tmp_path, STAGED))[1]]
    assert seen == [0.0] * 6 + [1.0] * 2
    trained(asked(tmp_path, **settings), stop_after=4)
    assert [r.losses["epoch"] for r in trained(asked(tmp_path, **settings))[1]] == seen[3:]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (('"aerial", {"second"', '"ground", {"second"'), "turns of ground, ground"),
        (("model.ground(batch.ground), aerial", "batch.x, aerial"), "reaches none"),
        (('{"first": info_nce', '{"first": 1e400 * info_nce'), "loss first is no finite scalar"),
    ],
)
def test_the_contract_knows_a_game_that_cannot_be_played(tmp_path, wrong, complaint):
    detached = "model.ground(batch.ground).detach(), aerial"
    added = GAME.replace(wrong[0], wrong[1].replace("batch.x, aerial", detached), 1)
    made = asked(tmp_path, added)
    page, views = made.page.load(), made.page.load().views(made.config)
    with pytest.raises(InvalidValue, match=complaint):
        check_objective(page, page.build(made.config), made.config, views, "page")


def test_the_contract_passes_a_game(tmp_path):
    made = asked(tmp_path)
    page = made.page.load()
    model = page.build(made.config)
    check_objective(page, model, made.config, page.views(made.config), "page")
    assert all(p.grad is None for p in model.parameters())
