import json
import math
from dataclasses import dataclass

import pytest
from tests.shared_data import shared

from crossview.errors import InvalidValue
from crossview.training.contract import TrainingRecipe


def test_a_config_decides_the_fields_that_it_has():
    @dataclass(frozen=True)
    class Config:
        lr: float = 0.5
        widths: tuple = (1, 2)

    assert TrainingRecipe.of(Config()) == TrainingRecipe(lr=0.5)


def test_epochs_become_steps_of_full_batches():
    assert TrainingRecipe(epochs=3, batch=10).total_steps(105) == 30
    assert TrainingRecipe(epochs=3, batch=10, accumulate=2).total_steps(105) == 15
    assert TrainingRecipe(epochs=3, batch=10, steps=7).total_steps(105) == 7
    assert TrainingRecipe(epochs=1, batch=10).total_steps(3) == 1


def test_the_rate_warms_up_linearly_and_ends_near_zero_along_half_a_cosine():
    recipe = TrainingRecipe(steps=100, warmup_steps=10, lr=1.0)
    rates = [recipe.lr_at(step, 1000) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (n + 1) for n in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.001


def test_a_warm_up_of_one_epoch_is_one_epoch_of_steps():
    recipe = TrainingRecipe(epochs=4, batch=10, warmup_epochs=1, lr=1.0)
    assert recipe.lr_at(9, 100) == 1.0
    assert recipe.lr_at(8, 100) == pytest.approx(0.9)


def test_a_schedule_by_epochs_is_that_of_geodtrs_authors():
    official = json.loads(shared("parity", "geodtr_schedule.json").read_text())
    recipe = TrainingRecipe(schedule="epochs", epochs=200, warmup_epochs=5, batch=10, lr=1.0)
    ours = [recipe.lr_at(10 * epoch + 7, 100) for epoch in range(200)]
    assert ours == pytest.approx(official["warmup5_total200"][:200], rel=1e-12, abs=1e-15)


def test_an_exponential_rate_falls_to_a_tenth_whatever_the_length():
    for length in ({"epochs": 45}, {"steps": 7}):
        recipe = TrainingRecipe(schedule="exponential", tenth_steps=100, lr=1.0, **length)
        rates = [recipe.lr_at(step, 1000) for step in (0, 50, 100, 200)]
        assert rates == pytest.approx([1.0, 10**-0.5, 0.1, 0.01])


def test_a_polynomial_rate_is_the_share_that_is_left_epoch_by_epoch():
    recipe = TrainingRecipe(schedule="polynomial", epochs=4, batch=10, lr=2.0)
    rates = [recipe.lr_at(step, 100) for step in range(40)]
    assert rates == pytest.approx([2.0 * (1 - epoch / 4) for epoch in range(4) for _ in range(10)])
    squared = TrainingRecipe(schedule="polynomial", epochs=4, batch=10, lr=2.0, decay_power=2.0)
    assert squared.lr_at(35, 100) == pytest.approx(2.0 / 16)
    by_step = TrainingRecipe(schedule="polynomial", steps=8, batch=10, lr=1.0)
    assert [by_step.lr_at(step, 100) for step in (0, 2, 7)] == [1.0, 0.75, 0.125]


def test_a_schedule_by_the_loader_counts_the_incomplete_batch_and_begins_at_zero():
    """As a cosine of the transformers library over len(loader) x epochs, 11 an epoch here."""
    recipe = TrainingRecipe(schedule="loader", epochs=4, batch=10, warmup_epochs=1, lr=1.0)
    slow = []
    for step in range(40):
        done = (step - 11) / (44 - 11)
        slow.append(step / 11 if step < 11 else 0.5 * (1 + math.cos(math.pi * done)))
    assert [recipe.lr_at(step, 105) for step in range(40)] == pytest.approx(slow)
    assert recipe.total_steps(105) == 40
    assert TrainingRecipe(schedule="loader", steps=5, lr=1.0).lr_at(0, 1000) == 1.0


def test_a_training_of_so_many_steps_never_waits_an_epoch_at_rate_zero():
    assert TrainingRecipe(schedule="epochs", steps=5, lr=1.0).lr_at(0, 1000) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 1}, {"lr": 0}, {"lr": float("nan")}, {"accumulate": 0}, {"ema_decay": 1.0},
     {"epochs": 0}, {"seed": -1},
     {"schedule": "days"}, {"tenth_steps": 0}, {"decay_power": 0}, {"optimiser": "lion"},
     {"momentum": 1.0}, {"schedule": "epochs", "epochs": 1}],
)  # fmt: skip
def test_impossible_numbers_are_refused(wrong):
    with pytest.raises(InvalidValue, match=next(iter(wrong))):
        TrainingRecipe(**wrong)
