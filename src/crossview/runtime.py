"""Runtimes: what computes a network (onnxruntime, OpenVINO), and how exactly.

``float32`` by onnxruntime is the yardstick. Another :class:`Arithmetic` is faster and gives other
vectors, a little. How much is no constant of a model, so it is measured where it is used: on
windows of the region, against the yardstick on the same pictures (:func:`measure_drift`), kept in
the user's cache, and refused beyond ``LEAST_COSINE`` and ``LEAST_PLACES``.

``int8`` is static quantisation after training, by onnxruntime: products of convolutions and of
matrices, for onnxruntime itself also sums and their like; weights by channel. Both runtimes compute
it with the machine's own instructions for bytes. Its ranges are found on windows of the region that
asks first, and the quantised network lies in the cache by the digest of the network's file: what
one process made serves all. Where nothing may be written, it is made for the process alone. Only
the network for windows becomes int8: a region's index holds no photos, and ranges that were found
on windows do not hold for photos (docs/runtimes.md has the numbers).

OpenVINO, and ``onnx``, which the quantiser needs, come with the extra ``openvino``.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from crossview.arrays import F32, I8, I32, I64, U8, AnyArray
from crossview.downloads import cache_folder
from crossview.errors import BadModel, CannotWrite, ModelMismatch, UsageError, match_name, require
from crossview.files import atomic_write, printable
from crossview.locks import lock
from crossview.schema import AtLeastOne, Share, Text, check, parse_object, read_bytes
from crossview.views.spec import ViewSpec

LOG = logging.getLogger("crossview.runtime")
RUNTIMES = ("onnxruntime", "openvino")
PRECISIONS = ("float32", "bfloat16", "int8")
LEAST_COSINE = 0.98  # of a vector and its yardstick, at the worst of a sample
LEAST_PLACES = 0.9  # of a sample's first places, which must stay the same
SAMPLE = 128  # windows of a region, evenly spread
_LEAST_SAMPLE, _MOST_SAMPLE_PX = 16, 1 << 24
CALIBRATED = 32  # of them, on which int8 finds its ranges; the others are measured
_TOGETHER = 16  # pictures of a call
_SCHEME = 1  # of quantising; another gives other files
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # as Linux names them
_QUANTISED = {"onnxruntime": None, "openvino": ["Conv", "MatMul", "Gemm"]}
"""Kinds of nodes that become 8 bits, by what is fastest there; None: all that can."""

Network = Callable[[Mapping[str, AnyArray]], F32]
"""Arrays by name in, the one array of floats that the signature names out."""


@dataclass(frozen=True)
class Arithmetic:
    """Which runtime computes a network, and in which numbers. The default is the yardstick."""

    runtime: str = RUNTIMES[0]
    precision: str = PRECISIONS[0]

    def __post_init__(self) -> None:
        match_name("runtime", self.runtime, RUNTIMES)
        match_name("precision", self.precision, PRECISIONS)
        require(
            self.runtime == "openvino" or self.precision != "bfloat16",
            "onnxruntime does not compute in bfloat16 on a CPU.\n"
            "Give --runtime openvino --precision bfloat16, or --precision int8.",
        )

    def __str__(self) -> str:
        return f"{self.precision} by {self.runtime}"

    @property
    def is_yardstick(self) -> bool:
        """Whether this is what all others are measured against."""
        return self == YARDSTICK


YARDSTICK = Arithmetic()


@dataclass(frozen=True)
class Signature:
    """What a network takes and gives: names, and types as onnxruntime writes them."""

    takes: tuple[tuple[str, str], ...]
    gives: str  # of floats
    words: str


OF_PICTURES = Signature(
    (("images", "tensor(uint8)"),), "embeddings", "images of uint8, and embeddings of float32"
)
OF_OFFSETS = Signature(
    (("ground", "tensor(float)"), ("aerial", "tensor(float)")),
    "offset",
    "ground and aerial vectors, and offset, all of float32",
)


@dataclass(frozen=True)
class Threads:
    """How many threads compute (0: all cores), and whether they burn their cores waiting."""

    count: int = 0
    spinning: bool = True


def load_onnxruntime() -> Any:
    """The module ``onnxruntime``, kept from telling its makers about its use.

    From 1.31 on its wheels for Linux keep a number of the machine and a list of events below
    ``~/.cache/Microsoft``, and have the address of a server to send them to. Only this variable
    prevents that, and only before the import: ``disable_telemetry_events`` comes too late. Who
    sets the variable to something else is obeyed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # heavy: only when a network is really run

    return onnxruntime


def load_openvino() -> Any:
    """The module ``openvino``, kept from telling its makers about its use.

    Its import alone sends an event, with a number of the machine that it keeps, through the package
    ``openvino_telemetry``; no variable prevents that. Without that package it uses a stand-in of
    its own that sends nothing, so the package is hidden while it is imported. UsageError, which
    says how to install it, where openvino is missing.
    """
    if sys.modules.get("openvino") is not None:
        return sys.modules["openvino"]
    teller = "openvino_telemetry"
    before = sys.modules.get(teller)
    sys.modules[teller] = None  # type: ignore[assignment]  # it is not there, in Python's words
    try:
        import openvino
    except ModuleNotFoundError as problem:
        raise _say_missing("--runtime openvino", "openvino") from problem
    finally:
        del sys.modules[teller]
        if before is not None:
            sys.modules[teller] = before
    return openvino


def _say_missing(what: str, package: str) -> UsageError:
    return UsageError(
        f"{what} needs the package {package}, which is not installed.\n"
        "Install it with: pip install 'crossview[openvino]'"
    )


def open_network(
    network: Path | bytes,
    arithmetic: Arithmetic = YARDSTICK,
    threads: Threads = Threads(),
    signature: Signature = OF_PICTURES,
    name: str = "",
) -> Network:
    """Open an ONNX network; of int8 it is the quantised one (:func:`quantise`).

    ``name``: what messages call it. Raises BadModel for what is no such network, and UsageError
    where the runtime is not installed or this processor lacks the numbers.
    """
    name = name or str(network if isinstance(network, Path) else "the network")
    require_runtime(arithmetic)
    opener = _open_by_openvino if arithmetic.runtime == "openvino" else _open_by_onnxruntime
    try:
        run, takes, gives = opener(network, arithmetic, threads, signature)
    except Exception as problem:  # both runtimes raise several private types
        raise BadModel(
            f"{name} cannot be loaded as a network: {shorten_failure(problem)}"
        ) from problem
    if takes != [*signature.takes] or (signature.gives, "tensor(float)") not in gives:
        raise BadModel(
            f"{name} is a network of another kind: it takes {takes} and gives {gives}.\n"
            f"Expected: {signature.words}. Make one with: crossview export"
        )
    return run


Sides = list[tuple[str, str]]  # names and types


def _open_by_onnxruntime(
    network: Path | bytes, arithmetic: Arithmetic, threads: Threads, signature: Signature
) -> tuple[Network, Sides, Sides]:
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads.count
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads.spinning)))
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never guessed
    options.log_severity_level = 3
    source = network if isinstance(network, bytes) else str(network)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    def run(arrays: Mapping[str, AnyArray]) -> F32:
        found: F32 = session.run([signature.gives], dict(arrays))[0]
        return found

    takes = [(entry.name, entry.type) for entry in session.get_inputs()]
    gives = [(entry.name, entry.type) for entry in session.get_outputs()]
    return run, takes, gives


def _open_by_openvino(
    network: Path | bytes, arithmetic: Arithmetic, threads: Threads, signature: Signature
) -> tuple[Network, Sides, Sides]:
    """By one request that calls share, one at a time: its threads take all cores anyway."""
    openvino = load_openvino()
    core = openvino.Core()
    source = io.BytesIO(network) if isinstance(network, bytes) else str(network)
    read = core.read_model(source)
    precision = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}[arithmetic.precision]
    settings = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    if threads.count:
        settings["INFERENCE_NUM_THREADS"] = threads.count
    compiled = core.compile_model(read, "CPU", settings)
    one_at_a_time = threading.Lock()

    def run(arrays: Mapping[str, AnyArray]) -> F32:
        with one_at_a_time:
            found: F32 = np.array(compiled(dict(arrays))[signature.gives], np.float32)
        return found

    return run, _list_sides(compiled.inputs), _list_sides(compiled.outputs)


def _list_sides(ports: Sequence[Any]) -> Sides:
    """Names and types as onnxruntime writes them."""
    types = {"u8": "tensor(uint8)", "f32": "tensor(float)"}
    return [
        (port.get_any_name(), types.get(kind := port.get_element_type().get_type_name(), kind))
        for port in ports
    ]


def require_runtime(arithmetic: Arithmetic) -> None:
    """UsageError unless it is installed, and this processor has the numbers."""
    if arithmetic.runtime == "openvino":
        load_openvino()
    if arithmetic.precision == "bfloat16":
        require_bfloat16()


def require_bfloat16() -> None:
    """UsageError unless this processor multiplies bfloat16 itself.

    OpenVINO also offers it where it has to imitate it, which is slower than float32.
    """
    core = load_openvino().Core()
    offered = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    flags = list_processor_flags()
    if not offered or (flags and not flags & _BFLOAT16):
        raise UsageError(
            "This processor has no instructions for bfloat16 (AVX512-BF16, AMX or their like): it "
            "would be slower than float32.\nGive --precision int8 or float32."
        )


def list_processor_flags() -> frozenset[str]:
    """What Linux says that the processor can do; empty on other systems."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in {"flags", "Features"}:
                return frozenset(value.split())
    return frozenset()


def shorten_failure(problem: Exception) -> str:
    """The first line of what a runtime says, safe to print."""
    return printable((str(problem).splitlines() or [type(problem).__name__])[0][:300])


# int8


def digest_network(network: Path | bytes) -> str:
    """The sha256 of a network's bytes, by which its quantised form is kept."""
    content = network if isinstance(network, bytes) else network.read_bytes()
    return hashlib.sha256(content).hexdigest()


def locate_quantised(network: Path, runtime: str = YARDSTICK.runtime) -> Path:
    """Where the quantised form of a network for a runtime lies, or would lie."""
    name = f"{digest_network(network)[:32]}.{runtime}-int8-{_SCHEME}.onnx"
    return cache_folder() / "networks" / name


def find_quantised(network: Path, runtime: str = YARDSTICK.runtime) -> bytes | None:
    """The quantised form of a network for a runtime, if it was made before."""
    try:
        return locate_quantised(network, runtime).read_bytes()
    except OSError:
        return None


def require_quantised(
    network: Path, pictures: Sequence[U8], runtime: str = YARDSTICK.runtime
) -> bytes:
    """The quantised form of a network; made of ``pictures``, and kept, unless there is one.

    Two processes that ask at once get the same: the second waits for the first.
    """
    place = locate_quantised(network, runtime)
    try:
        with lock(place, "crossview --precision int8", wait=True, make_parents=True):
            if (found := find_quantised(network, runtime)) is None:
                found = quantise(network, pictures, runtime)
                atomic_write(place, found)
            return found
    except CannotWrite as problem:
        LOG.warning("The quantised network is not kept: %s", str(problem).splitlines()[0])
        return quantise(network, pictures, runtime)


def quantise(network: Path, pictures: Sequence[U8], runtime: str = YARDSTICK.runtime) -> bytes:
    """The network in 8 bits where that is faster in a runtime.

    ``pictures``: batches [b, h, w, 3] as the network takes them, by which the ranges of its inner
    values are found (smallest and largest).
    """
    onnxruntime = load_onnxruntime()
    try:
        import onnx  # noqa: F401 - the quantiser imports it, with a worse message
        from onnxruntime import quantization
    except ModuleNotFoundError as problem:
        raise _say_missing("--precision int8", problem.name or "onnx") from problem
    with tempfile.TemporaryDirectory(prefix="crossview-") as folder, _quiet():
        folded, out = Path(folder, "folded.onnx"), Path(folder, "int8.onnx")
        options = onnxruntime.SessionOptions()  # constants, such as halves, become plain weights
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
        quantization.quantize_static(
            folded,
            out,
            _make_reader(quantization.CalibrationDataReader, pictures),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED[runtime],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return out.read_bytes()


def _make_reader(base: type, pictures: Sequence[U8]) -> Any:
    """The quantiser's iterator over batches; it insists on a class of its own."""
    batches = iter(pictures)

    def get_next(_self: Any) -> dict[str, U8] | None:
        batch = next(batches, None)
        return None if batch is None else {OF_PICTURES.takes[0][0]: batch}

    return type("Pictures", (base,), {"get_next": get_next})()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the quantiser warns of, which is how it would like its input."""

    def leave_out(record: logging.LogRecord) -> bool:
        return "quant" not in record.pathname

    root = logging.getLogger()
    root.addFilter(leave_out)
    try:
        yield
    finally:
        root.removeFilter(leave_out)


# How far another arithmetic is from the yardstick.


@dataclass(frozen=True)
class Drift:
    """What an arithmetic changes, on so many windows of a region.

    ``least_cosine`` and ``median_cosine`` are of vectors and their yardsticks, of both networks
    together. ``same_places``: the share of windows whose first place among all others of the
    sample, asked with the ground network, stays the same.
    """

    arithmetic: Text
    windows: AtLeastOne
    least_cosine: float
    median_cosine: float
    same_places: Share

    @property
    def is_small(self) -> bool:
        """Whether the arithmetic may be used."""
        return self.least_cosine >= LEAST_COSINE and self.same_places >= LEAST_PLACES

    def __str__(self) -> str:
        return (
            f"{self.arithmetic}: on {self.windows} windows vectors agree with float32 to a cosine "
            f"of {self.median_cosine:.4f} (worst {self.least_cosine:.4f}), and "
            f"{self.same_places:.1%} of first places stay"
        )

    def require_small(self, region: str) -> None:
        """Raise :class:`ModelMismatch`, with the numbers, unless it is small."""
        if not self.is_small:
            raise ModelMismatch(
                f"{region}: {self}.\n"
                f"Allowed are a cosine of {LEAST_COSINE} at the worst, and {LEAST_PLACES:.0%} of "
                "first places. Give another --precision, or float32."
            )


Embedding = Callable[[U8], F32]
"""Pictures [n, h, w, 3] to unit vectors [n, D]."""


@dataclass(frozen=True)
class Pair:
    """The two networks of a model, in one arithmetic."""

    ground: Embedding
    aerial: Embedding


def measure_drift(
    exact: Pair, fast: Pair, pictures: tuple[U8, U8], arithmetic: Arithmetic
) -> Drift:
    """Compare two arithmetics on the same n windows, in pictures for the ground and the aerial."""
    ground, aerial = pictures
    queries, refs = _embed(exact.ground, ground), _embed(exact.aerial, aerial)
    fast_queries, fast_refs = _embed(fast.ground, ground), _embed(fast.aerial, aerial)
    cosines = np.concatenate(
        [_compute_cosines(queries, fast_queries), _compute_cosines(refs, fast_refs)]
    )
    same = _find_first(queries, refs) == _find_first(fast_queries, fast_refs)
    return Drift(
        arithmetic=str(arithmetic),
        windows=len(aerial),
        least_cosine=float(cosines.min()),
        median_cosine=float(np.median(cosines)),
        same_places=float(same.mean()),
    )


def _embed(network: Embedding, pictures: U8) -> F32:
    starts = range(0, len(pictures), _TOGETHER)
    return np.concatenate([network(pictures[start : start + _TOGETHER]) for start in starts])


def _compute_cosines(one: F32, other: F32) -> F32:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines: F32 = (one * other).sum(1) / np.maximum(lengths, 1e-12)
    return cosines


def _find_first(queries: F32, refs: F32) -> I64:
    """Of every query the best reference but its own."""
    scores = queries @ refs.T
    if len(scores) > 1:
        np.fill_diagonal(scores, -np.inf)
    first: I64 = np.argmax(scores, axis=1)
    return first


def recall_drift(key: str, measure: Callable[[], Drift]) -> Drift:
    """What was measured under ``key`` before; else measure it, and keep it if that is possible."""
    place = cache_folder() / "drift" / f"{key[:32]}.json"
    with suppress(OSError, ValueError):
        return check(Drift, parse_object(read_bytes(place)))
    drift = measure()
    with suppress(OSError, CannotWrite):
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place, json.dumps(asdict(drift), indent=1) + "\n")
    return drift


def digest_setting(arithmetic: Arithmetic, networks: Sequence[str], pictures: Sequence[U8]) -> str:
    """A key of all that a drift depends on: networks (digests), runtime, processor, pictures."""
    package = metadata.version(arithmetic.runtime)
    machine = [platform.machine(), *sorted(list_processor_flags())]
    facts = [str(arithmetic), package, machine, [*networks], [p.shape for p in pictures]]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for picture in pictures:
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def count_sample(spec: ViewSpec) -> int:
    """How many windows of a region are looked at: fewer where each is many pixels."""
    return max(_LEAST_SAMPLE, min(SAMPLE, _MOST_SAMPLE_PX // (spec.height_px * spec.width_px)))


# Products of bytes, for vectors that are compared in 8 bits.

Product = Callable[[U8, I8], I32]

ZERO = 128  # of the unsigned side: value v is stored as v + 128
LARGEST = 127
_UINT8, _INT8, _INT32 = 2, 3, 6  # onnx.TensorProto


@lru_cache(maxsize=1)
def make_product() -> Product:
    """A function: (uint8 [n, D] with zero point 128) times (int8 [D, m]) = int32 [n, m].

    onnxruntime multiplies them with the machine's own instructions (VNNI, AMX, dot product on
    ARM). The network of one node that it needs is written here by hand, so that no other package
    is needed: https://onnx.ai/onnx/operators/onnx__MatMulInteger.html
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)  # as numpy's BLAS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        _encode_product(), options, providers=["CPUExecutionProvider"]
    )

    def multiplied(left: U8, right: I8) -> I32:
        product: I32 = session.run(None, {"a": left, "b": right})[0]
        return product

    return multiplied


def _encode_product() -> bytes:
    """ModelProto: opset 17, one MatMulInteger(a, b, zero)."""
    names = b"".join(_bytes(1, name) for name in (b"a", b"b", b"zero"))
    node = names + _bytes(2, b"c") + _bytes(4, b"MatMulInteger")
    zero = _number(2, _UINT8) + _bytes(8, b"zero") + _bytes(9, bytes([ZERO]))
    graph = _bytes(1, node) + _bytes(2, b"product") + _bytes(5, zero)
    graph += _bytes(11, _tensor(b"a", _UINT8, (b"n", b"d")))
    graph += _bytes(11, _tensor(b"b", _INT8, (b"d", b"m")))
    graph += _bytes(12, _tensor(b"c", _INT32, (b"n", b"m")))
    return _number(1, 9) + _bytes(8, _number(2, 17)) + _bytes(7, graph)


def _tensor(name: bytes, kind: int, axes: tuple[bytes, ...]) -> bytes:
    shape = b"".join(_bytes(1, _bytes(2, axis)) for axis in axes)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits per byte, lowest first; the high bit is set on all but the last."""
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
