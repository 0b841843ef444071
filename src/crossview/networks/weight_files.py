"""Files of weights as strangers publish them: named tensors out, and nothing in them ever runs.

The one reader of checkpoints, for ``crossview import`` and for ``--weights FILE``. It takes
safetensors and what ``torch.save`` writes, old and new: plain, nested, wrapped by DataParallel or
``torch.compile``, with optimisers, averages, settings and numbers beside the tensors.

A network of ours is filled from tensors by timm's names or by torchvision's, whose ImageNet weights
many papers start from. ResNets have the same names in both. ConvNeXt, VGG and the vision
transformers differ in names and in the shape of some tensors, not in what they compute.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crossview.errors import BadModel, InvalidValue, WeightsUnavailable

GRAPH_PREFIX, GRAPH_HALF = "model.", ".half"  # around a tensor's name in an exported branch
HEADER = (
    "crossview"  # the one text in the header of safetensors that we write: several have no order
)
MAIN_ENTRIES = ("model_state_dict", "state_dict", "model", "network", "net")  # in this order
_AVERAGED = re.compile(r"(^|_)(ema|swa|avg|averaged|average|shadow|teacher)(_|$)")
_NO_WEIGHTS = re.compile(r"optim|sched|scaler|rng|callback|^loops$")
_FIGURES = re.compile(r"best|acc|loss|epoch|step|recall|metric")  # numbers beside the weights
_WRAPPERS = {"module", "_orig_mod"}  # of DataParallel and of torch.compile
_AVERAGE_COUNTER = "n_averaged"  # of torch.optim.swa_utils
COUNTER = "num_batches_tracked"  # of batch norm; plays no part unless momentum is None
_DEPTH, _DICTIONARIES = 6, 1000  # in each other, and in all, that are searched
_PLAIN = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_FIRST_LAYERS = (  # of timm's ConvNeXt, ResNet and VGG, transformers; of torchvision's
    "stem.0.weight", "conv1.weight", "features.0.weight", "patch_embed.proj.weight",
    "features.0.0.weight", "conv_proj.weight",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """The named tensors of a file, without the prefixes of wrappers."""

    path: Path
    tensors: Mapping[str, Tensor]
    entry: str = ""  # below which they lie, dotted; empty: at the top, or below several
    others: tuple[str, ...] = ()  # entries that hold as many tensors, such as an average
    unread: tuple[str, ...] = ()  # kinds of objects beside the tensors, by name


def read_weights(path: Path, entry: str = "") -> WeightFile:
    """Read a .pth, .pt, .ckpt or .safetensors file; its content decides, not its name.

    A folder of an exported model gives the weights that its ONNX files hold by name. What export
    leaves out (a learned scale) is not there.

    ``entry``: the dotted name of the dictionary to take, where a file holds several. Raises
    FileNotFoundError, BadModel for a file that is damaged, that holds code or no named tensors,
    InvalidValue for an entry that is not there.
    """
    values, unread = _content(path)
    groups = dict(_groups(values))
    entry = entry.strip(".")
    if entry and not any(_below(name, entry) for name in groups):
        held = ", ".join(name for name in groups if name) or "none"
        raise InvalidValue(
            f"{path} holds no tensors below {entry!r}.\nEntries with tensors: {held}."
        )
    taken, others = (entry, ()) if entry else _main_entry(groups)
    prefix = f"{taken}." if taken else ""
    tensors: dict[str, Tensor] = {}
    for name, group in groups.items():
        if _below(name, taken):
            inner = name[len(prefix) :] if name != taken else ""
            _add(tensors, group, f"{inner}." if inner else "", path)
    if not tensors:
        raise BadModel(
            f"{path} holds no named tensors; its entries: {_entries(values)}.\n"
            "Expected: the state_dict of a network, plain or in a dictionary."
        )
    return WeightFile(path=path, tensors=tensors, entry=taken, others=others, unread=_kinds(unread))


def fit(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], str]:
    """The tensors that a network of the state ``own`` takes, in its types; and what does not fit.

    The text names the first disagreement in keys or shapes, and is empty where all of ``own`` is
    there and nothing is left over. Halves and doubles are converted; counters that older versions
    of PyTorch did not write begin at zero. Raises BadModel for values that are no plain finite
    numbers.
    """
    given = {**{k: v for k, v in own.items() if k.endswith(COUNTER)}, **tensors}
    if complaint := _disagreement(own, given):
        return {}, complaint
    return {name: _converted(given[name], value, name, path) for name, value in own.items()}, ""


def find_stored_type(tensors: Mapping[str, Tensor]) -> str:
    """How the numbers are stored where that is not float32, such as "float16"; else empty."""
    kinds = {str(v.dtype).removeprefix("torch.") for v in tensors.values() if v.ndim}
    kinds -= {"float32", "int64"}
    return ", ".join(sorted(kinds))


def fill_network(model: nn.Module, path: Path) -> nn.Module:
    """``model`` with the tensors of a file; what it does not have, as classifiers, is ignored.

    The file may name them as timm does, as torchvision does, or as the model's own authors do, and
    below a prefix. Position tables of transformers are resampled to the size of the pictures, as
    timm does with weights of the hub. Raises WeightsUnavailable unless all of its own are there.
    """
    try:
        tensors = read_weights(path).tensors
    except FileNotFoundError as problem:
        raise WeightsUnavailable(
            f"Weights {path} cannot be read: there is no such file."
        ) from problem
    except OSError as problem:
        raise WeightsUnavailable(f"Weights {path} cannot be read: {problem.strerror}.") from problem
    except BadModel as problem:
        raise WeightsUnavailable(f"Weights {problem}") from problem
    own = model.state_dict()
    tensors = _named_by_timm(model, tensors, path)
    missing = [k for k in own if k not in tensors and not k.endswith(COUNTER)]
    differ = [key for key in own if key in tensors and own[key].shape != tensors[key].shape]
    if missing or differ:
        raise WeightsUnavailable(
            f"{path} does not fit the network: {len(missing)} tensors missing, {len(differ)} of "
            f"another shape, such as {(missing + differ)[0]!r}.\n"
            f"It holds {len(tensors)}, such as {next(iter(tensors))!r}: of another backbone?"
        )
    try:
        fitting, _ = fit(own, {key: tensors[key] for key in own if key in tensors}, path)
    except BadModel as problem:
        raise WeightsUnavailable(f"Weights {problem}") from problem
    model.load_state_dict(fitting)
    return model


def _named_by_timm(
    model: nn.Module, tensors: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The tensors by the names of ``model``, if they can be; the plain names come first."""
    own = {name for name in model.state_dict() if not name.endswith(COUNTER)}
    fitting = {}
    for prefix in ("", *dict.fromkeys(_prefixes(tensors))):
        part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        network = _of_family(model, as_timm(part))
        if own <= set(network):
            fitting[prefix] = network
    if "" not in fitting and len(fitting) > 1:
        raise WeightsUnavailable(
            f"{path} holds such a network {len(fitting)} times, below "
            f"{', '.join(prefix.rstrip('.') for prefix in fitting)}.\n"
            "Save the one that is meant in a file of its own."
        )
    return next(iter(fitting.values()), _of_family(model, as_timm(tensors)))


def _prefixes(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """What stands before the names of first layers, such as ``backbone.`` or ``model_q.``."""
    for name in tensors:
        for first in _FIRST_LAYERS:
            if name.endswith(f".{first}"):
                yield name.removesuffix(first)


def _of_family(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As timm's code for this family of networks converts files, where it has such code."""
    convert = getattr(import_module(type(model).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return dict(convert(dict(tensors), model))
    except (KeyError, IndexError, ValueError, RuntimeError, AttributeError, AssertionError):
        return tensors  # another network's: what does not fit is told by name


def _disagreement(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    for name, value in own.items():
        if name in given and given[name].shape != value.shape:
            return f"{name} is {list(given[name].shape)} there and {list(value.shape)} here"
    missing, left = sorted(set(own) - set(given)), sorted(set(given) - set(own))
    if missing:
        return f"{len(missing)} tensors are missing, such as {missing[0]}"
    return f"{len(left)} tensors are left over, such as {left[0]}" if left else ""


def _converted(value: Tensor, own: Tensor, name: str, path: Path) -> Tensor:
    """``value`` in the type of ``own``; shapes agree already, so nothing huge is made."""
    if not own.is_floating_point():
        if value.is_complex() or value.is_quantized or value.layout != torch.strided:
            raise BadModel(f"{path}: {name} is no plain tensor of counts ({value.dtype}).")
        return value.to(own.dtype)
    if value.dtype not in _PLAIN or value.layout != torch.strided or value.is_meta:
        kind = "sparse" if value.layout != torch.strided else str(value.dtype).split(".")[-1]
        raise BadModel(
            f"{path}: {name} holds {kind} numbers, where weights are floats.\n"
            "Read are float32, float64, float16 and bfloat16: convert the file first."
        )
    converted = value.to(own.dtype)
    if not bool(torch.isfinite(converted).all()):
        count = int((~torch.isfinite(converted)).sum())
        raise BadModel(
            f"{path}: {name} holds {count} values that are no finite float32 numbers.\n"
            "A training that diverged, or a damaged file: take another checkpoint of it."
        )
    return converted


def _add(tensors: dict[str, Tensor], group: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Put ``group`` among ``tensors`` without wrappers' names; BadModel where two become one."""
    for key, value in group.items():
        parts = key.split(".")
        plain = [part for part in parts if part not in _WRAPPERS] or parts
        name = prefix + ".".join(plain)
        if key == _AVERAGE_COUNTER and value.ndim == 0:
            continue
        if name in tensors:
            raise BadModel(
                f"{path} contradicts itself: it holds {name} twice, with and without the prefix "
                "of a wrapper."
            )
        tensors[name] = value


def _main_entry(groups: Mapping[str, Mapping[str, Tensor]]) -> tuple[str, tuple[str, ...]]:
    """The entry that holds a file's weights, and entries that hold as many tensors."""
    entry, others = "", list[str]()
    while True:
        below = _children(groups, entry)
        if not below:
            return entry, tuple(others)
        entries = [name for name in MAIN_ENTRIES if name in below]
        plain = [name for name in below if not _AVERAGED.search(name.lower())]
        own = groups.get(entry, {})
        if not entries and any(value.ndim for value in own.values()):
            return entry, tuple(others)
        if not entries and len(plain or below) > 1:
            return entry, tuple(others)
        chosen = entries[0] if entries else (plain or list(below))[0]
        start = f"{entry}." if entry else ""
        others += [
            start + name
            for name, count in below.items()
            if name != chosen and 2 * count >= below[chosen]
        ]
        entry = start + chosen


def _children(groups: Mapping[str, Mapping[str, Tensor]], entry: str) -> dict[str, int]:
    """The entries right below ``entry`` that hold tensors, and how many."""
    start = f"{entry}." if entry else ""
    counts: dict[str, int] = {}
    for name, group in groups.items():
        if name != entry and name.startswith(start):
            child = name[len(start) :].split(".")[0]
            counts[child] = counts.get(child, 0) + len(group)
    return counts


def _below(name: str, entry: str) -> bool:
    return not entry or name == entry or name.startswith(f"{entry}.")


def _groups(values: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dictionary that holds tensors by name, by its dotted place; optimisers are left out."""
    waiting: list[tuple[tuple[str, ...], Any, tuple[int, ...]]] = [((), values, ())]
    for _ in range(_DICTIONARIES):
        if not waiting:
            return
        place, mapping, above = waiting.pop(0)
        if not isinstance(mapping, Mapping) or id(mapping) in above or len(place) > _DEPTH:
            continue
        named = {key: value for key, value in mapping.items() if isinstance(key, str)}
        if group := {k: v for k, v in named.items() if isinstance(v, Tensor) and not _figure(k, v)}:
            yield ".".join(place), group
        waiting += [
            ((*place, key), value, (*above, id(mapping)))
            for key, value in named.items()
            if isinstance(value, Mapping) and not _NO_WEIGHTS.search(key.lower())
        ]


def _kinds(unread: set[str]) -> tuple[str, ...]:
    """Names of classes; the several that make one number of NumPy are one."""
    return tuple(sorted({"numpy" if n.startswith("numpy.") else n for n in unread}))


def _figure(name: str, value: Tensor) -> bool:
    """Whether this is a number that a training noted, such as the best recall so far."""
    return value.ndim == 0 and "." not in name and bool(_FIGURES.search(name.lower()))


def _entries(values: Any) -> str:
    if not isinstance(values, Mapping):
        return f"none, it is one object of type {type(values).__name__}"
    return ", ".join(str(key) for key in list(values)[:20])[:200] or "none"


def _content(path: Path) -> tuple[Any, set[str]]:
    """What a file holds, and the kinds of objects in it that were not read."""
    if path.is_dir():
        return _read_exported(path), set()
    with path.open("rb") as file:
        start = file.read(512)
    if why := _no_checkpoint(path, start):
        raise _unreadable(path, why)
    if start[8:9] == b"{":
        return read_tensors(path)[0], set()
    reader = _SkippingPickle()
    try:
        # Every class and function that the file names is looked up in `_Reader`, nowhere else.
        values = torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    except _Code as problem:
        raise _unreadable(path, f"it asks to run {problem}") from problem
    except Exception as problem:  # unpickling raises whatever the file provokes
        why = _damage(path, start, problem)
        if "torch.storage.UntypedStorage" in reader.unread:
            why = "its tensors are of a type that is not read, such as float8"
        raise _unreadable(path, why) from problem
    return values, reader.unread


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a safetensors file holds: tensors by name, and the texts of its header.

    A file with a checksum of ours holds what was written; others are read as they are. BadModel
    if it cannot be read or has changed.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            texts, expected = read_header(file.metadata())
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as problem:
        why = f"its safetensors are damaged or cut short ({problem})"
        raise _unreadable(path, why) from None
    if expected is not None and expected != digest_tensors(tensors, texts):
        raise BadModel(
            f"{path} is damaged: its tensors are not those that were written.\n"
            "Take it from a copy, or train it again in another folder."
        )
    return tensors, texts


def make_header(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> dict[str, str]:
    """What stands in the header of a file of ours: ``texts``, and the checksum of all."""
    return {HEADER: json.dumps([dict(texts), digest_tensors(tensors, texts)])}


def read_header(header: Mapping[str, str] | None) -> tuple[dict[str, str], str | None]:
    """The texts of a header, and the checksum, if it is of :func:`make_header`; ValueError."""
    if header is None or HEADER not in header:
        return dict(header or {}), None
    texts, checksum = json.loads(header[HEADER])
    return {str(name): str(text) for name, text in dict(texts).items()}, str(checksum)


def digest_tensors(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """64 hex digits (sha256) of names, types, shapes and values, and of the texts beside them."""
    digest = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_graph(graph: bytes) -> dict[str, Tensor]:
    """The tensors of an exported branch by the names that the network itself gives them."""
    import onnx
    from onnx import numpy_helper

    found = {}
    for entry in onnx.load_from_string(graph).graph.initializer:
        if entry.name.startswith(GRAPH_PREFIX):
            name = entry.name.removeprefix(GRAPH_PREFIX).removesuffix(GRAPH_HALF)
            found[name] = torch.from_numpy(numpy_helper.to_array(entry).copy())
    return found


def _read_exported(folder: Path) -> dict[str, Tensor]:
    """The weights of a network's branches."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.onnx")):
        try:
            tensors |= read_graph(path.read_bytes())
        except Exception as problem:  # the parser raises whatever the file provokes
            why = f"it is no whole ONNX file ({type(problem).__name__})"
            raise _unreadable(path, why) from None
    return tensors


def _unreadable(path: Path, why: str) -> BadModel:
    return BadModel(
        f"{path} cannot be read weights-only: {why}.\n"
        "Only tensors in dictionaries are read (safetensors, or torch.save of a state_dict); code "
        "inside a file never runs."
    )


_OTHER_FILES = (  # how files begin that are no checkpoints, and what they are
    (b"<!doctype", "it is a web page, such as a download's request for consent: download it again"),
    (b"<html", "it is a web page, such as a download's request for consent: download it again"),
    (b"version https://git-lfs", "it is a pointer of Git LFS: fetch the file (git lfs pull)"),
    (b"\x89hdf", "it is an HDF5 file of another library"),
    (b"\x93numpy", "it is an array of NumPy"),
)


def _no_checkpoint(path: Path, start: bytes) -> str:
    """What a file is that is no checkpoint, judged by its first bytes; else empty."""
    if not start:
        return "it is empty"
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, what in _OTHER_FILES:
        if head.startswith(mark):
            return what
    if start[:2] == b"PK":
        return _no_archive(path)
    return "it is a tar archive; unpack it first" if tarfile.is_tarfile(path) else ""


def _no_archive(path: Path) -> str:
    """What keeps a zip file from being a checkpoint of torch.save; else empty."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return f"it is cut short or damaged ({path.stat().st_size:,} bytes): download it again"
    if any(Path(name).name == "constants.pkl" for name in names):
        return "it is a TorchScript program, not a state_dict"
    if not any(Path(name).name == "data.pkl" for name in names):
        held = ", ".join(names[:3])
        return f"it is an archive of other files ({held}); unpack it and name the checkpoint in it"
    return ""


def _damage(path: Path, start: bytes, problem: Exception) -> str:
    """Why reading failed, in words of our own and no more of the library's than its kind."""
    if start[:2] != b"PK" and start[:1] != b"\x80":
        return "it is no file of torch.save or safetensors"
    if start[:1] == b"\x80" and "magic" in str(problem).lower():
        return "it is a pickle of something else than torch.save's"
    size = f"{path.stat().st_size:,} bytes"
    return f"it is damaged or cut short ({size}, {type(problem).__name__}): download it again"


class _Code(Exception):
    """The file wants something run."""


_DATA = {  # of the modules below
    *(("builtins", name) for name in ("dict", "list", "tuple", "slice", "range", "object", "str")),
    *(("builtins", name) for name in ("int", "float", "bool", "bytearray", "xrange", "type")),
    ("builtins", "getattr"),  # of enumerations
    ("types", "SimpleNamespace"), ("types", "MappingProxyType"),
    ("io", "BytesIO"), ("_io", "BytesIO"), ("io", "StringIO"), ("_io", "StringIO"),
}  # fmt: skip
_RUNS = {  # modules whose names in a file are no data; nothing of them would run in any case
    "asyncio", "bdb", "builtins", "cloudpickle", "code", "codeop", "commands", "ctypes", "dill",
    "imp", "importlib", "io", "_io", "joblib", "marshal", "nt", "operator", "_operator", "os",
    "pdb", "pickle", "_pickle", "pip", "pkgutil", "posix", "pty", "requests", "runpy", "shutil",
    "smtplib", "socket", "subprocess", "sys", "timeit", "types", "urllib", "webbrowser",
}  # fmt: skip
_OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg", "cPickle": "pickle"}  # Python 2


class Unread(dict[Any, Any]):
    """Stands for any object of a file that is not read: takes everything, does nothing.

    A dictionary, because subclasses of dictionaries (settings of many libraries, counters) are
    filled item by item, and may hold tensors.
    """

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__()

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __call__(self, *values: Any) -> Unread:
        """A method of an object that is not read gives nothing to read."""
        return self

    def append(self, value: Any) -> None:
        """Items of lists and sets are dropped."""

    extend = add = append


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
    return torch._utils._rebuild_tensor_v2(  # type: ignore[no-untyped-call, no-any-return]
        storage, offset, tuple(size), tuple(stride), False, OrderedDict()
    )


def _data_of_parameter(data: Tensor, *rest: Any) -> Tensor:
    return data


def _without_subclass(rebuild: Any, kind: Any, arguments: Any, state: Any) -> Any:
    return rebuild(*arguments) if rebuild in _REBUILT.values() else Unread()


def _bytes_of(text: str = "", encoding: str = "latin1") -> bytes:
    return text.encode("latin1")  # the only encoding that pickle writes


_REBUILT = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _data_of_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _data_of_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _without_subclass,
    ("torch.nn.parameter", "Parameter"): _data_of_parameter,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytes"): _bytes_of,
    ("_codecs", "encode"): _bytes_of,
}


class _Reader(pickle._Unpickler):
    """An unpickler that knows tensors and plain values; all else becomes :class:`Unread`."""

    unread: ClassVar[set[str]]

    def find_class(self, module: str, name: str) -> Any:
        """What a file means by a name. Nothing is imported."""
        module = _OLD_NAMES.get(module, module)
        if (module, name) in _REBUILT:
            return _REBUILT[module, name]
        kind = getattr(torch, name, None) if module == "torch" else None
        if isinstance(kind, torch.dtype):
            return kind
        if module.partition(".")[0] in _RUNS and (module, name) not in _DATA:
            raise _Code(f"{module}.{name}")
        if module not in ("builtins", "copyreg"):
            self.unread.add(f"{module}.{name}")
        return type("Unread", (Unread,), {})

    def load_build(self) -> None:
        """The state of an object is dropped: nothing that is made here has any."""
        self.stack.pop()  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
    }


class _SkippingPickle(SimpleNamespace):
    """What ``torch.load`` wants of a pickle module, with :class:`_Reader` as its unpickler."""

    def __init__(self) -> None:
        self.unread: set[str] = set()
        reader = type("_Reader", (_Reader,), {"unread": self.unread})
        super().__init__(
            __name__=__name__,
            Unpickler=reader,
            load=lambda file, **how: reader(file, **how).load(),
        )


Rule = tuple[str, str | Callable[[re.Match[str]], str]]

_CONVNEXT: tuple[Rule, ...] = (
    (r"^features\.0\.", "stem."),
    (r"^features\.([246])\.", lambda m: f"stages.{int(m[1]) // 2}.downsample."),
    (r"^features\.([1357])\.", lambda m: f"stages.{int(m[1]) // 2}.blocks."),
    (r"\.block\.0\.", ".conv_dw."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".mlp.fc1."),
    (r"\.block\.5\.", ".mlp.fc2."),
    (r"\.layer_scale$", ".gamma"),
    (r"^classifier\.0\.", "head.norm."),
    (r"^classifier\.2\.", "head.fc."),
)
_VGG: tuple[Rule, ...] = (
    (r"^classifier\.0\.", "pre_logits.fc1."),
    (r"^classifier\.3\.", "pre_logits.fc2."),
    (r"^classifier\.6\.", "head.fc."),
)
_TRANSFORMER: tuple[Rule, ...] = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", lambda m: f"blocks.{m[1]}."),
    (r"\.ln_([12])\.", lambda m: f".norm{m[1]}."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
)


def rename_tensor(name: str, rules: Sequence[Rule]) -> str:
    """``name`` after all ``rules`` (pattern, replacement), one after the other."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def convnext_tensor(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A tensor of torchvision's ConvNeXt as timm has it; its scales [C, 1, 1] become [C]."""
    flat = value.reshape(-1) if name.endswith("layer_scale") else value
    return rename_tensor(name, _CONVNEXT), flat


def as_timm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network of torchvision by timm's names; those of others as they are."""
    if any(name.endswith(".layer_scale") for name in tensors) and "features.0.0.weight" in tensors:
        return dict(convnext_tensor(name, value) for name, value in tensors.items())
    if "conv_proj.weight" in tensors:
        return {rename_tensor(name, _TRANSFORMER): value for name, value in tensors.items()}
    if "features.0.weight" in tensors and "classifier.0.weight" in tensors:
        return {rename_tensor(name, _VGG): _as_convolution(name, v) for name, v in tensors.items()}
    return dict(tensors)


def _as_convolution(name: str, value: Tensor) -> Tensor:
    """VGG's fully connected layers are convolutions in timm."""
    sides = {"classifier.0.weight": 7, "classifier.3.weight": 1}
    side = sides.get(name)
    return value.reshape(len(value), -1, side, side) if side and value.ndim == 2 else value
