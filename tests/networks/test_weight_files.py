import argparse
import collections
import datetime
import enum
import functools
import pathlib
import pickle
import struct
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from crossview.errors import BadModel, InvalidValue
from crossview.networks.weight_files import find_stored_type, fit, read_tensors, read_weights
from crossview.training.train_state import save_weights


class Settings(dict):
    """Of a library that keeps its settings in a dictionary of its own, such as yacs."""


class Trainer:
    def __init__(self):
        self.best, self.seen = 0.9, [1, 2]


class Mode(enum.Enum):
    FAST = 1


Score = collections.namedtuple("Score", "r1 r5")
WEIGHTS = {"a": torch.arange(2.0), "b.c": torch.nn.Parameter(torch.arange(6.0).view(3, 2).t())}
FORMATS = {
    "as today": {},
    "before PyTorch 1.6": {"_use_new_zipfile_serialization": False},
    "pickle protocol 4": {"pickle_protocol": 4},
    "pickle protocol 5, old": {"pickle_protocol": 5, "_use_new_zipfile_serialization": False},
}
BESIDE = {
    "a number of NumPy": np.float64(0.9),
    "an integer of NumPy": np.int64(3),
    "an array of NumPy": np.arange(3),
    "arguments": argparse.Namespace(lr=0.1, out=pathlib.Path("runs")),
    "a namespace": types.SimpleNamespace(a=1),
    "settings": Settings(model=Settings(depth=2)),
    "a time": datetime.datetime(2024, 1, 1),
    "a dictionary with a default": collections.defaultdict(list, {"loss": [1.0]}),
    "an object": Trainer(),
    "a class": Trainer,
    "an enumeration": Mode.FAST,
    "a named tuple": Score(1.0, 2.0),
    "a partial function": functools.partial(Trainer),
    "a queue": collections.deque([1]),
    "a counter": collections.Counter("aab"),
    "sets": {"s": {1}, "f": frozenset({2})},
    "bytes": {"b": b"x", "none": b"", "array": bytearray(b"y")},
    "plain values": [None, True, 10**30, 1.5, 2j, range(3), (1, "a"), torch.float16],
    "torch's own": [torch.device("cpu"), torch.Size([1])],
}


def saved(path, values, **how):
    torch.save(values, path, **how)
    return path


def assert_weights(file):
    assert set(file.tensors) == set(WEIGHTS)
    assert all(torch.equal(file.tensors[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("what", [*BESIDE, "all of these"])
def test_what_lies_beside_the_tensors_is_left_alone(tmp_path, what, how):
    beside = BESIDE.get(what, BESIDE)
    file = {"state_dict": WEIGHTS, "beside": beside, "optimizer": {"state": {0: torch.ones(1)}}}
    assert_weights(read_weights(saved(tmp_path / "a.pth", file, **FORMATS[how])))


def test_what_was_left_alone_is_named(tmp_path):
    values = {"state_dict": WEIGHTS, "args": argparse.Namespace(), "best": np.float64(0.9)}
    file = read_weights(saved(tmp_path / "a.pth", values))
    assert file.unread == ("argparse.Namespace", "numpy")


def nested(values, *names):
    for name in reversed(names):
        values = {name: values, "epoch": 3}
    return values


@pytest.mark.parametrize(
    "values",
    [
        WEIGHTS,
        collections.OrderedDict(WEIGHTS),
        Settings(WEIGHTS),
        nested(WEIGHTS, "model"),
        nested(WEIGHTS, "model", "state_dict"),
        nested(WEIGHTS, "ema"),
        {"state_dict": WEIGHTS, "best_acc1": torch.tensor(0.9)},
        {"net": WEIGHTS, "optimizer": {"a": torch.ones(1)}, "lr_scheduler": {"b": torch.ones(1)}},
        {f"module.{name}": value for name, value in WEIGHTS.items()},
        {f"module.module._orig_mod.{name}": value for name, value in WEIGHTS.items()},
        {"n_averaged": torch.tensor(7), **{f"module.{n}": v for n, v in WEIGHTS.items()}},
        {"a": WEIGHTS["a"], "b._orig_mod.c": WEIGHTS["b.c"]},
    ],
)
def test_tensors_are_found_where_training_scripts_put_them(tmp_path, values):
    assert_weights(read_weights(saved(tmp_path / "a.pth", values)))


def test_safetensors_are_known_by_content(tmp_path):
    save_file({n: v.detach().contiguous() for n, v in WEIGHTS.items()}, tmp_path / "a.pth")
    assert_weights(read_weights(tmp_path / "a.pth"))


def test_networks_below_several_entries_keep_their_names_apart(tmp_path):
    values = {
        "model_grd": {"module.a": torch.zeros(1)},
        "model_sat": {"module.a": torch.ones(1)},
        "best_acc": torch.tensor(0.5),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}},
    }
    file = read_weights(saved(tmp_path / "a.pth", values))
    assert {name: float(v) for name, v in file.tensors.items()} == {
        "model_grd.a": 0.0,
        "model_sat.a": 1.0,
    }


def test_an_average_beside_the_weights_is_told_and_can_be_asked_for(tmp_path):
    values = {"model": WEIGHTS, "model_ema": {name: -value for name, value in WEIGHTS.items()}}
    path = saved(tmp_path / "a.pth", values)
    assert_weights(file := read_weights(path))
    assert (file.entry, file.others) == ("model", ("model_ema",))
    assert torch.equal(read_weights(path, "model_ema").tensors["a"], -WEIGHTS["a"])
    with pytest.raises(
        InvalidValue, match="no tensors below 'teacher'.\nEntries .*: model, model_"
    ):
        read_weights(path, "teacher")


def test_a_name_with_and_without_a_wrapper_is_a_contradiction(tmp_path):
    path = saved(tmp_path / "a.pth", {"a": torch.zeros(1), "module.a": torch.ones(1)})
    with pytest.raises(BadModel, match="contradicts itself: it holds a twice"):
        read_weights(path)


class Runs:
    """Wants a function called when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("function", [open, eval, exec, __import__, print])
def test_code_is_refused_by_name_and_does_not_run(tmp_path, function, how):
    made = tmp_path / "made"
    path = saved(tmp_path / "a.pth", {"a": Runs(function, str(made), "w")}, **FORMATS[how])
    with pytest.raises(BadModel, match=rf"asks to run \w+\.{function.__name__}\.\n"):
        read_weights(path)
    assert not made.exists()


def test_a_function_of_a_library_does_not_run_either(tmp_path):
    values = {"a": torch.zeros(1), "made": Runs(pathlib.Path.touch, tmp_path / "made")}
    read_weights(saved(tmp_path / "a.pth", values))
    assert not (tmp_path / "made").exists()


def cut(values):
    def write(path):
        torch.save(values, path)
        path.write_bytes(path.read_bytes()[:-200])

    return write


def script(path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(path)


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("CVUSA/model.pth", b"x")


def safetensors_cut(path):
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-50])


def storage_too_small(path):
    torch.save({"a": torch.zeros(100)}, path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in parts.items():
            file.writestr(name, data[:8] if name.endswith("data/0") else data)


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")
@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "it is a web page"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "Git LFS"),
        (lambda path: path.write_bytes(b"weights"), "no file of torch.save or safetensors"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1}, 2)), "pickle of something else"),
        (lambda path: path.write_bytes(struct.pack("<Q", 99) + b"{}"), "damaged or cut short"),
        (cut(WEIGHTS), "cut short or damaged"),
        (safetensors_cut, "damaged or cut short"),
        (storage_too_small, "damaged or cut short"),
        (script, "TorchScript program"),
        (archive, "archive of other files .CVUSA/model.pth."),
        (lambda path: np.save(path.open("wb"), np.zeros(2)), "array of NumPy"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_words_of_our_own(tmp_path, write, why):
    path = tmp_path / "a.pth"
    write(path)
    with pytest.raises(BadModel, match=f"cannot be read weights-only: .*{why}") as raised:
        read_weights(path)
    assert "\x1b" not in str(raised.value)
    assert str(raised.value).count("\n") == 1


@pytest.mark.parametrize("values", [{"epoch": 3}, [1, 2], {"optimizer": {"a": torch.ones(1)}}, 5])
def test_a_file_without_tensors_names_its_entries(tmp_path, values):
    with pytest.raises(BadModel, match="holds no named tensors; its entries: "):
        read_weights(saved(tmp_path / "a.pth", values))


def test_a_file_that_holds_itself_ends(tmp_path):
    values = {"a": torch.zeros(1)}
    values["again"] = values
    assert set(read_weights(saved(tmp_path / "a.pth", values)).tensors) == {"a"}


OWN = {"w": torch.zeros(2), "bn.num_batches_tracked": torch.tensor(0)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted_and_told(tmp_path, dtype):
    tensors = {
        "w": torch.tensor([0.5, -2.0], dtype=dtype),
        "bn.num_batches_tracked": torch.tensor(5),
    }
    fitting, complaint = fit(OWN, tensors, tmp_path)
    assert complaint == ""
    assert fitting["w"].dtype == torch.float32
    assert fitting["w"].tolist() == [0.5, -2.0]
    assert find_stored_type(tensors) == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (torch.tensor([1.0, float("nan")]), "w holds 1 values that are no finite"),
        (torch.tensor([float("inf"), 0.0]), "no finite"),
        (torch.tensor([1e300, 0.0], dtype=torch.float64), "no finite"),
        (torch.tensor([1, 2], dtype=torch.int8), "w holds int8 numbers"),
        (torch.tensor([1, 2j]), "w holds complex64 numbers"),
        (torch.tensor([1.0, 0.0]).to_sparse(), "w holds sparse numbers"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(tmp_path, values, why):
    with pytest.raises(BadModel, match=why):
        fit(OWN, {"w": values}, tmp_path)


def test_counters_that_older_versions_did_not_write_begin_at_zero(tmp_path):
    fitting, complaint = fit(OWN, {"w": torch.ones(2)}, tmp_path)
    assert complaint == ""
    assert int(fitting["bn.num_batches_tracked"]) == 0


def test_a_tensor_that_pretends_to_be_huge_is_told_by_its_shape(tmp_path):
    path = saved(tmp_path / "a.pth", {"w": torch.zeros(1).expand(10**12)})
    _, complaint = fit(OWN, read_weights(path).tensors, path)
    assert complaint == "w is [1000000000000] there and [2] here"


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    weights = {
        "a.weight": torch.randn(3, 4),
        "a.half": torch.randn(5).half(),
        "count": torch.tensor(7),
        "seen": torch.tensor([True, False]),
        "turned": torch.randn(2, 3).T,
    }
    save_weights(weights, path)
    return path, weights


def test_weights_of_ours_come_back_as_they_were(kept):
    path, weights = kept
    tensors, texts = read_tensors(path)
    assert texts == {}
    assert tensors.keys() == weights.keys()
    assert all(torch.equal(tensors[name], value) for name, value in weights.items())


def test_a_flipped_bit_of_weights_never_goes_unnoticed(kept):
    path, weights = kept
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            tensors, _ = read_tensors(path)
        except BadModel:
            refused += 1
            continue
        # padding, or the name that the checksum stands under: the tensors are the same
        assert tensors.keys() == weights.keys()
        assert all(torch.equal(tensors[name], value) for name, value in weights.items())
    assert refused > 0.95 * len(whole)
    path.write_bytes(whole)
    read_tensors(path)


def test_safetensors_of_others_have_no_checksum_and_are_read(tmp_path):
    values = {"layer.weight": torch.ones(2, 2)}
    save_file(values, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    tensors, texts = read_tensors(tmp_path / "theirs.safetensors")
    assert torch.equal(tensors["layer.weight"], values["layer.weight"])
    assert texts == {"format": "pt"}
