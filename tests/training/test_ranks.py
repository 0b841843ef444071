"""Two ranks train as one device does; a rank that fails is said by all of them."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contract.settings import ask
from tests.tiny_pairs import write_pairs
from tests.training.rank_processes import run_ranks
from timm.layers import BatchNormAct2d
from torch import nn

from crossview.catalogue import METHODS, configure, make_config, method_page, open_data
from crossview.cli import main
from crossview.errors import InvalidValue, TrainingFailed
from crossview.pairs.page_ref import PageRef
from crossview.training import contract, ranks
from crossview.training.contract import TrainingRecipe, in_halves, require_divisible
from crossview.training.loop import Objective, backward
from crossview.training.ranks import ALONE, TrainingRanks, open_ranks, synchronise_batch_norms
from crossview.training.session import Request, Stopped, fit, prepare, start_state
from crossview.training.train_state import read_saved_step

PAGE = Path(__file__).with_name("halves_page.py")
MINE = Path(__file__).parents[2] / "docs" / "examples" / "mine.py"
WAYS = {
    "plain": {"clip_norm": 0.5},
    "chunks and accumulation": {"chunk": 1, "accumulate": 2, "ema_decay": 0.9},
    "two passes": {"rho": 0.5, "accumulate": 2},
    "mined in a pass": {"refresh_epochs": 1, "batch": 18},  # four batches an epoch
    "mined from the epoch": {"refresh_epochs": 1, "batch": 18, "mine_from": "epoch"},
}


def ask_for(folder, out="run", **settings):
    """A training of the page of this test; what its Config has no field for is the request's."""
    page = PageRef.of_file(PAGE)
    names = page.load().Config.__dataclass_fields__
    config = {name: value for name, value in settings.items() if name in names}
    known = {"device": "cpu", "workers": 0, "val_share": 0.0, "save_every": 2, "ranks": ALONE}
    known |= {name: value for name, value in settings.items() if name not in names}
    data = open_data(f"pairs:{folder / 'data' / 'pairs.csv'}")
    return Request(
        method="./halves.py",
        page=page,
        config=make_config(page.load(), config),
        data=data.name,
        tables=data.tables,
        info=data.info,
        out=folder / out,
        **known,
    )


def train(request):
    """Losses by step, gradients of the first step, weights and figures at the end; batches, too."""
    session = prepare(request)
    state = start_state(session)
    gradients, reports = {}, []
    for report in fit(session, state):
        reports.append(report)
        if len(reports) == 1:
            named = state.model.named_parameters()
            gradients = {n: p.grad.numpy().copy() for n, p in named if p.grad is not None}
    weights = {name: value.numpy() for name, value in state.model.state_dict().items()}
    averaged = {name: value.numpy() for name, value in (state.averaged or {}).items()}
    steps = [report for report in reports if hasattr(report, "losses")]
    return {
        "losses": [report.losses for report in steps],
        "pairs": [report.pairs for report in steps],
        "fov_deg": [report.fov_deg for report in steps],
        "gradients": gradients,
        "weights": weights,
        "averaged": averaged,
        "recalls": [report for report in reports if not hasattr(report, "losses")],
        "neighbours": state.neighbours,
    }


def train_all_ways(folder, out):
    with open_ranks("cpu") as all_ranks:
        return {
            way: train(ask_for(folder, f"{out} {way}", ranks=all_ranks, **settings))
            for way, settings in WAYS.items()
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    write_pairs(folder / "data", 136, val=64)  # 64: both ranks embed some
    return folder


@pytest.fixture(scope="module")
def both(folder):
    """What one device and each of two ranks make of all ways."""
    alone = train_all_ways(folder, "one")
    return alone, [ended.value for ended in run_ranks(train_all_ways, folder, folder, "two")]


def assert_same(ours, expected, **tolerance):
    assert set(ours) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(ours[name], values, err_msg=name, **tolerance)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rank", [0, 1])
def test_two_ranks_train_as_one_device(both, way, rank):
    one, two = both[0][way], both[1][rank][way]
    for ours, expected in zip(two["losses"], one["losses"], strict=True):
        assert ours == pytest.approx(expected, abs=1e-12)
    assert_same(two["gradients"], one["gradients"], rtol=0.0, atol=1e-12)
    assert "idle" not in two["gradients"]
    assert_same(two["weights"], one["weights"], rtol=0.0, atol=1e-12)
    assert_same(two["averaged"], one["averaged"], rtol=0.0, atol=1e-12)
    assert two["pairs"] == one["pairs"]
    assert two["fov_deg"] == one["fov_deg"]
    assert two["recalls"] == one["recalls"]
    assert len(one["recalls"]) == 2
    if WAYS[way].get("refresh_epochs"):
        assert np.array_equal(two["neighbours"], one["neighbours"])


def test_the_ranks_themselves_end_with_the_same_bits(both):
    first, second = both[1]
    for way in WAYS:
        assert_same(first[way]["weights"], second[way]["weights"], rtol=0.0, atol=0.0)


def gather_without_gradient(value, rank, count):
    """The mutant: others' vectors and the own ones are there, the gradient is the own one alone."""
    parts = list(ranks._gather_values(value.detach(), count).split(len(value)))
    return torch.cat([*parts[:rank], value, *parts[rank + 1 :]])


def train_with_mutant(folder):
    ranks._gather = gather_without_gradient
    with open_ranks("cpu") as all_ranks:
        return train(ask_for(folder, "mutant", ranks=all_ranks))


def test_a_gathering_that_stops_gradients_is_noticed_by_them_and_not_by_the_loss(both, folder):
    one = train(ask_for(folder, "one for the mutant"))
    mutant = run_ranks(train_with_mutant, folder, folder)[0].value
    assert mutant["losses"][0] == pytest.approx(one["losses"][0], abs=1e-12)
    for name, gradient in one["gradients"].items():
        share = 1.0 if name == "scale" else 0.5  # the scale's gradient passes no gathering
        np.testing.assert_allclose(mutant["gradients"][name], share * gradient, atol=1e-12)
    with pytest.raises(AssertionError):
        assert_same(mutant["gradients"], one["gradients"], rtol=0.0, atol=1e-12)


def differentiate(names):
    """Losses and gradients of the pages by name, of a part of one batch in float64."""
    results = {}
    with open_ranks("cpu") as all_ranks:
        for name in names:
            ref, config = configure(name, ask(name, "TINY"))
            page = ref.load()
            if hasattr(config, "counterfactual"):
                config = replace(config, counterfactual=0.0)  # of masks that every rank draws
            torch.manual_seed(3)
            model = page.build(config).double().eval()  # no dropout, whose draws would differ
            batch = contract.example_batch(
                page.views(config), torch.device("cpu"), contract.count_copies(page, config)
            )
            batch = as_doubles(batch)
            own = batch.part(
                *(4 * n // all_ranks.count for n in (all_ranks.rank, all_ranks.rank + 1))
            )
            objective = Objective(page=page, config=config, amp=False, ranks=all_ranks)
            passed = backward(model, own, objective)
            all_ranks.average_gradients(model.parameters())
            grads = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
            results[name] = passed.losses, grads
    return results


def as_doubles(batch):
    return replace(
        batch,
        ground=batch.ground.double(),
        aerial=batch.aerial.double(),
        heading_deg=batch.heading_deg.double(),
        more=tuple(map(as_doubles, batch.more)),
    )


IN_HALVES = sorted(
    name
    for name in METHODS
    if in_halves(page := method_page(name).load()) and not contract.is_game(page)
)


def test_every_page_in_halves_has_the_gradients_of_the_whole_batch(tmp_path):
    alone = differentiate(IN_HALVES)
    for ended in run_ranks(differentiate, tmp_path, IN_HALVES):
        assert ended.exit_code == 0, ended.said
        for name, (losses, gradients) in alone.items():
            theirs, others = ended.value[name]
            assert theirs == pytest.approx(losses, rel=1e-9), name
            for tensor, expected in gradients.items():
                scale = np.abs(expected).max()
                np.testing.assert_allclose(
                    others[tensor], expected, atol=1e-9 * scale + 1e-15, err_msg=f"{name} {tensor}"
                )


LONG = {"batch": 18, "steps": 8, "dropout": 0.3, "refresh_epochs": 1, "ema_decay": 0.9}


def train_and_be_killed(folder, killed):
    with open_ranks("cpu") as all_ranks:
        session = prepare(ask_for(folder, "killed", ranks=all_ranks, **LONG))
        for report in fit(session, start_state(session)):
            if all_ranks.rank == killed and getattr(report, "step", 0) == 5:
                os.kill(os.getpid(), signal.SIGKILL)


def train_on(folder, out, settings):
    with open_ranks("cpu") as all_ranks:
        train(ask_for(folder, out, ranks=all_ranks, **settings))


@pytest.fixture(scope="module")
def whole(folder):
    """A training on two ranks of which none was killed."""
    assert [e.exit_code for e in run_ranks(train_on, folder, folder, "whole", LONG)] == [0, 0]
    return folder / "whole"


@pytest.mark.parametrize("killed", [0, 1])
def test_after_a_rank_was_killed_training_ends_with_the_weights_of_one_that_was_not(
    folder, whole, tmp_path, killed
):
    (tmp_path / "data").symlink_to(folder / "data")
    ended = run_ranks(train_and_be_killed, tmp_path, tmp_path, killed)
    assert ended[killed].exit_code == -signal.SIGKILL
    assert "TrainingFailed: Another rank has ended" in ended[1 - killed].said
    assert not (tmp_path / "killed" / ".lock").exists()
    assert [e.exit_code for e in run_ranks(train_on, tmp_path, tmp_path, "killed", LONG)] == [0, 0]
    for name in ("state.safetensors", "model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (whole / name).read_bytes()
    assert log_steps(tmp_path / "killed") == list(range(1, 9))


def log_steps(run):
    entries = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [entry["step"] for entry in entries if "validation" not in entry]


def train_and_be_asked_to_stop(folder):
    with open_ranks("cpu") as all_ranks:
        session = prepare(ask_for(folder, "stopped", ranks=all_ranks, **LONG))
        try:
            for report in fit(session, start_state(session)):
                if all_ranks.rank == 1 and getattr(report, "step", 0) == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
        except Stopped as stopped:
            return stopped.signal, stopped.step
    return None


def test_a_signal_to_one_rank_stops_all_after_the_same_step(folder, tmp_path):
    (tmp_path / "data").symlink_to(folder / "data")
    ended = run_ranks(train_and_be_asked_to_stop, tmp_path, tmp_path)
    assert [one.value for one in ended] == [(signal.SIGTERM, 4)] * 2
    assert read_saved_step(tmp_path / "stopped" / "state.safetensors") == 4


def train_by_command(folder, settings):
    rank = int(os.environ["RANK"])
    command = ["train", f"--method={PAGE}", f"--data=pairs:{folder}/data/pairs.csv"]
    command += [f"--out={folder}/disagreed", "--device=cpu", "--val-share=0", "--quiet"]
    raise SystemExit(main([*command, *settings[rank]]))


def test_ranks_that_were_told_other_settings_say_so_and_end(folder, tmp_path):
    (tmp_path / "data").symlink_to(folder / "data")
    ended = run_ranks(train_by_command, tmp_path, tmp_path, (["--lr=0.01"], ["--lr=0.02"]))
    for one in ended:
        assert one.exit_code == InvalidValue.exit_code
        said = " ".join(one.said.split())
        assert "The ranks disagree about this training: config.lr: 0.01 on rank 0, 0.02 on" in said
    assert not (tmp_path / "disagreed").exists()


def test_what_one_rank_refuses_is_said_by_all(folder, tmp_path):
    (tmp_path / "data").symlink_to(folder / "data")
    ended = run_ranks(train_by_command, tmp_path, tmp_path, ([], ["--config=batches=3"]))
    assert all(one.exit_code for one in ended)
    assert "Rank 1: " in ended[0].said
    assert all("batches" in one.said for one in ended)


def train_on_data_of_ones_own(folder):
    with open_ranks("cpu") as all_ranks:
        train(ask_for(folder / f"of{all_ranks.rank}", ranks=all_ranks))


@pytest.fixture
def data_of_ones_own(tmp_path):
    """Two folders of the same data, of which the second may be changed."""
    for rank in range(2):
        write_pairs(tmp_path / f"of{rank}" / "data", 24)
    return tmp_path


def test_ranks_that_see_other_pairs_say_so(data_of_ones_own):
    listed = data_of_ones_own / "of1" / "data" / "pairs.csv"
    listed.write_text(listed.read_text().replace("60.00045", "60.00055"))
    for one in run_ranks(train_on_data_of_ones_own, data_of_ones_own, data_of_ones_own):
        assert one.exit_code
        assert "The ranks disagree about this training: pairs.train.ground_lat" in one.said


def test_a_picture_that_one_rank_cannot_read_ends_all_with_its_name(data_of_ones_own):
    for picture in (data_of_ones_own / "of1" / "data").glob("g*.png"):
        picture.write_bytes(picture.read_bytes()[:200])
    first, second = run_ranks(train_on_data_of_ones_own, data_of_ones_own, data_of_ones_own)
    assert "BadImage" in second.said
    assert "OtherRankFailed: Rank 1: " in first.said
    assert ".png" in first.said


def wait_in_vain(limit_s):
    with open_ranks("cpu", step_limit_s=limit_s) as all_ranks:
        if all_ranks.rank == 1:
            time.sleep(3 * limit_s)
            return None
        try:
            all_ranks.while_training().exchange(0)
        except TrainingFailed as problem:
            return str(problem)


def test_a_rank_that_does_not_answer_is_not_waited_for_without_end(tmp_path):
    first, _ = run_ranks(wait_in_vain, tmp_path, 1.0)
    assert "does not answer" in first.value


def test_methods_that_cannot_see_all_negatives_are_refused_for_many_ranks_only():
    game, whole = method_page("cde").load(), PageRef.of_file(MINE).load()
    for page, kind in ((game, "is a game"), (whole, "has one objective over pictures")):
        require_divisible(page, TrainingRecipe(batch=8), 1)
        with pytest.raises(InvalidValue, match=f"this method {kind}.*, so that its") as told:
            require_divisible(page, TrainingRecipe(batch=8), 2)
        assert "Train it on one device, or a method that offers encode" in str(told.value)


def test_a_batch_that_cannot_be_cut_is_refused_with_those_that_can():
    page = PageRef.of_file(PAGE).load()
    require_divisible(page, TrainingRecipe(batch=9), 3)
    with pytest.raises(InvalidValue, match=r"batch of 10 .* 3 equal parts.\nUse --batch 12 or 9"):
        require_divisible(page, TrainingRecipe(batch=10), 3)
    with pytest.raises(InvalidValue, match=r"Use --batch 4: "):
        require_divisible(page, TrainingRecipe(batch=2), 4)


class Still(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(False)


def test_batch_norms_that_would_see_a_part_of_the_batch_are_refused_on_cpus():
    model, cpu = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), torch.device("cpu")
    assert synchronise_batch_norms(model, ALONE, cpu) is model
    with pytest.raises(InvalidValue, match=r"1 batch norms \(1 is the first\).*on cpu"):
        synchronise_batch_norms(model, TrainingRanks(count=2), cpu)


def test_batch_norms_are_converted_for_gpus_under_their_own_names():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), Still(2), BatchNormAct2d(2))
    names = list(model.state_dict())
    converted = synchronise_batch_norms(model, TrainingRanks(count=2), torch.device("cuda"))
    assert [type(part) for part in converted[1:3]] == [nn.SyncBatchNorm, Still]
    assert isinstance(converted[3], nn.SyncBatchNorm)
    assert isinstance(converted[3].act, nn.ReLU)
    assert list(converted.state_dict()) == names


def test_batch_norms_that_training_leaves_alone_are_allowed():
    model = nn.Sequential(Still(2))
    assert synchronise_batch_norms(model, TrainingRanks(count=2), torch.device("cpu")) is model


@pytest.mark.parametrize("name", ["cuda:1", "mps"])
def test_a_device_that_ranks_would_share_is_refused(name):
    assert ALONE.name_device(name) == name
    with pytest.raises(InvalidValue, match=f"--device {name} cannot serve 2 ranks"):
        TrainingRanks(count=2).name_device(name)


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert TrainingRanks(count=4, rank=3, local=1).name_device("cuda") == "cuda:1"
    with pytest.raises(InvalidValue, match=r"rank 2 is number 3 on its machine, which has 2 GPUs"):
        TrainingRanks(count=4, rank=2, local=2).name_device("cuda")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2"}, "RANK is ''"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2; it must be 0 to 1"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "ranks do not find each other"),
    ],
)
def test_half_a_launcher_is_refused_with_what_is_missing(monkeypatch, settings, complaint):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidValue, match=complaint), open_ranks("cpu"):
        pass


def test_a_launcher_of_one_process_changes_nothing(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with open_ranks("cpu") as one:
        assert one == ALONE


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_are_all_there_is_once_and_in_order(count):
    cuts = [range(11)[TrainingRanks(rank=rank, count=count).cut(11)] for rank in range(count)]
    assert [n for cut in cuts for n in cut] == list(range(11))
    assert {len(cut) for cut in cuts} <= {11 // count, 11 // count + 1}
