"""From a run folder to a model folder, checked against the original; and back, to train on.

A model folder is ONNX files, ``model.json``, and ``training.json``: the method, its settings, and
the few parameters that only training needs, such as the scale of a loss. The ONNX files hold every
other tensor under its own name, so that an exported network can be trained again without its run.
:class:`RunEmbedder` is a run as a model that is not exported first.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import MaxLen
from torch import Tensor, nn

from crossview.arrays import F32, U8
from crossview.errors import BadModel, InvalidValue
from crossview.files import write_together
from crossview.locks import lock
from crossview.model import (
    AERIAL_NAME,
    FOV_SLACK,
    GROUND_NAME,
    INFO_NAME,
    MODEL_FILES,
    MOST_TRAINING_BYTES,
    OFFSET_NAME,
    SHARED_NAME,
    STATED,
    TRAINING_NAME,
    ModelInfo,
    Regression,
    encode_info,
    list_networks,
    read_network,
    require_whole,
)
from crossview.networks.weight_files import COUNTER, GRAPH_HALF, fit, read_graph
from crossview.pairs.batch import Views, normalise
from crossview.runtime import load_onnxruntime
from crossview.schema import Text, check, parse_object, read_bytes
from crossview.training.run_folder import RunFolder
from crossview.training.session import build_without_weights, list_state, name_no_weights
from crossview.training.train_state import load_weights
from crossview.training.validation import similarities
from crossview.views.spec import ViewSpec

OPSET = 18
TOLERANCE = 1e-4  # largest difference of an embedding's entry
TIE = 1e-5  # scores this close may trade places between two runtimes
CHECKED = 24  # pictures per side that the two runtimes are compared on
_MOST_CHECKED_PX = CHECKED * 512 * 512  # in all; of larger views fewer are compared
_MOST_TOGETHER_PX = 1 << 21  # in one call of either, so that large views need little memory
_BESIDE = 64  # numbers of a parameter that is no part of the graphs; larger ones are left out


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how far it is from the original."""

    folder: Path
    info: ModelInfo
    difference: float  # largest, over all embeddings compared
    bytes: int  # of the ONNX files


class _Head(nn.Module):
    """The regression of an offset, under the name that it has in its network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"offset": model.get_submodule("offset")})

    def forward(self, ground: Tensor, aerial: Tensor) -> Tensor:
        place: Tensor = self.model["offset"](ground, aerial)
        return place


class _Branch(nn.Module):
    """uint8 [B, h, w, 3] -> unit [B, D]: normalisation and transposition inside the graph."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, model: nn.Module, side: str, spec: ViewSpec) -> None:
        super().__init__()
        self.model, self.side = model, side
        self.register_buffer("pixel_mean", 255.0 * torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", 255.0 * torch.tensor(spec.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.permute(0, 3, 1, 2).float() - self.pixel_mean) / self.pixel_std
        vectors: Tensor = getattr(self.model, self.side)(pixels)
        return vectors


def export(  # noqa: PLR0913 - a run, opened, and three options
    run: RunFolder,
    page: Any,
    config: Any,
    out: Path,
    *,
    views: Views | None = None,
    half: bool = False,
    name: str = "",
) -> Exported:
    """Write ``out``/model*.onnx and model.json; raises BadModel where they do not agree.

    ``views`` are those of the run's training; None: those of the page, which know no data set.
    ``half`` stores weights as float16 (half the size; computing stays in float32).
    InUse where another process exports to ``out``.
    """
    with lock(out, "crossview export", make_parents=True):
        model = build_without_weights(page, config)
        views = views or page.views(config)
        return _write_export(run, model, config, views, out, half=half, name=name)


def _write_export(  # noqa: PLR0913 - as export
    run: RunFolder, model: nn.Module, config: Any, views: Views, out: Path, *, half: bool, name: str
) -> Exported:
    load_weights(model, run.weights)
    if half:
        model = model.half().float()
    model.eval()
    shared = bool(getattr(model, "shared", False)) and _same_pixels(views)
    graphs = {}
    for file, side in _files(shared).items():
        graph = _graph(model, side, views, free_size=shared)
        graphs[file] = _half_weights(graph) if half else graph
    difference, dim = _compare(model, views, graphs, shared)
    if hasattr(model, "offset"):
        graphs[OFFSET_NAME] = _write_head(model, dim)
        difference = max(difference, _compare_heads(model, graphs[OFFSET_NAME], dim))
    info = run_info(run, views, dim, half, name)
    for file, graph in graphs.items():
        require_whole(graph, file)
    origin = _describe_origin(run.config()["method"], config, model, graphs)
    written = {**graphs, TRAINING_NAME: origin, INFO_NAME: encode_info(info) + b"\n"}
    write_together(out, written, MODEL_FILES)
    size = sum(len(graph) for graph in graphs.values())
    return Exported(folder=out, info=info, difference=difference, bytes=size)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a model folder says of the training behind it: ``training.json``."""

    method: Text  # a name of the catalogue, or a file's for a page from outside
    config: dict[str, Any]
    beside: dict[Text, Annotated[list[float], MaxLen(_BESIDE)]]  # parameters outside the graphs
    lacking: list[Text]  # larger ones, which are nowhere in the folder
    format: Literal[1] = 1


def read_origin(folder: Path) -> Origin:
    """``training.json`` of a model folder; BadModel where it has none, or one that cannot be."""
    path = folder / TRAINING_NAME
    try:
        return check(Origin, parse_object(read_bytes(path, MOST_TRAINING_BYTES)))
    except FileNotFoundError as problem:
        raise BadModel(
            f"{folder} cannot be trained further: it has no {TRAINING_NAME}.\n"
            "Export its run again with crossview export; a network of another origin cannot be "
            "trained here."
        ) from problem
    except (OSError, ValueError) as problem:
        raise BadModel(f"{path} cannot be read: {problem}") from problem


def reopen(folder: Path, page: Any, config: Any, views: Views) -> nn.Module:
    """The network of a model folder, to train it further; in eval mode.

    ``page`` and ``config`` are those that its :func:`read_origin` names. Raises BadModel unless
    every tensor is there and fits, and the network gives the embeddings of the ONNX files.
    """
    origin = read_origin(folder)
    graphs = {path.name: read_network(path) for path in list_networks(folder)}
    tensors = {
        name: value for graph in graphs.values() for name, value in read_graph(graph).items()
    }
    shapes = list_state(page, config)
    for name, numbers in origin.beside.items():
        if name in shapes and shapes[name].numel() == len(numbers):
            tensors.setdefault(name, torch.tensor(numbers).reshape(shapes[name].shape))
    known = {name: value for name, value in tensors.items() if name in shapes}
    fitting, complaint = fit(shapes, known, folder)
    if complaint or origin.lacking:
        raise BadModel(
            f"{folder} cannot be trained further: {complaint or 'it lacks ' + origin.lacking[0]}.\n"
            "Take another model, or train one anew (crossview train)."
        )
    model = build_without_weights(page, config)
    model.load_state_dict(fitting)
    model.eval()
    _, dim = _compare(model, views, graphs, SHARED_NAME in graphs)
    if OFFSET_NAME in graphs:
        _compare_heads(model, graphs[OFFSET_NAME], dim)
    return model


def _describe_origin(
    method: str, config: Any, model: nn.Module, graphs: Mapping[str, bytes]
) -> bytes:
    """training.json of an export; no path of this machine is in it."""
    inside = {name for graph in graphs.values() for name in read_graph(graph)}
    outside = {
        name: value
        for name, value in model.state_dict().items()
        if name not in inside and not name.endswith(COUNTER)
    }
    settings = asdict(config) | name_no_weights(config)  # what files gave is in the tensors
    origin = Origin(
        method=Path(method).name,
        config=settings,
        beside={n: v.flatten().tolist() for n, v in outside.items() if v.numel() <= _BESIDE},
        lacking=[name for name, value in outside.items() if value.numel() > _BESIDE],
    )
    return json.dumps(asdict(origin), indent=1).encode() + b"\n"


def _files(shared: bool) -> dict[str, str]:
    return {SHARED_NAME: "ground"} if shared else {GROUND_NAME: "ground", AERIAL_NAME: "aerial"}


def _same_pixels(views: Views) -> bool:
    return (views.ground.mean, views.ground.std) == (views.aerial.mean, views.aerial.std)


def _graph(model: nn.Module, side: str, views: Views, *, free_size: bool) -> bytes:
    """One branch as ONNX with its weights inside; traced with a batch of 2, because 1 is baked in.

    The width is free where ground views are narrow, both sizes where one graph serves both sides.
    """
    spec: ViewSpec = getattr(views, side)
    images = torch.zeros(2, spec.height_px, spec.width_px, 3, dtype=torch.uint8)
    free: dict[int, Any] = {0: torch.export.Dim.DYNAMIC}
    if free_size:
        free[1] = torch.export.Dim.DYNAMIC
    if free_size or (side == "ground" and spec.representation == "narrow"):
        free[2] = torch.export.Dim.DYNAMIC
    branch = _Branch(model, side, spec)
    return _trace(branch, {"images": images}, "embeddings", free, f"The {side} branch")


def _write_head(model: nn.Module, dim: int) -> bytes:
    """The regression of offsets as ONNX, for any number of pairs of vectors."""
    vectors = {"ground": torch.zeros(2, dim), "aerial": torch.zeros(2, dim)}
    rows = {0: torch.export.Dim.DYNAMIC}
    return _trace(_Head(model), vectors, "offset", rows, "The regression of offsets")


def _trace(
    network: nn.Module, takes: Mapping[str, Tensor], gives: str, free: dict[int, Any], what: str
) -> bytes:
    """``network`` as ONNX; ``free``: the axes of all inputs that may have any length."""
    buffer = io.BytesIO()
    try:
        program = torch.onnx.export(
            network.eval(),
            tuple(takes.values()),
            input_names=list(takes),
            output_names=[gives],
            dynamic_shapes=dict.fromkeys(takes, free),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # the runtime does it on loading; here weights stay what they are
            verbose=False,
        )
        program.save(buffer)  # type: ignore[union-attr, arg-type]
    except Exception as problem:  # the exporter raises many private types
        raise BadModel(
            f"{what} cannot be written as ONNX: {str(problem).splitlines()[0]}"
        ) from problem
    return _without_traces(buffer.getvalue())


def _without_traces(graph: bytes) -> bytes:
    """Drop the exporter's notes on every node: they hold stack traces with this machine's paths."""
    import onnx

    model = onnx.load_from_string(graph)
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    values = [*model.graph.input, *model.graph.output, *model.graph.initializer]
    for item in (*model.graph.node, *values):
        del item.metadata_props[:]
        item.doc_string = ""
    result: bytes = model.SerializeToString()
    return result


def _half_weights(graph: bytes) -> bytes:
    """Store float32 weights as float16 with a cast in front; onnxruntime casts once, on loading."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(graph)
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = numpy_helper.to_array(weight)
        rounded, name = values.astype(np.float16), weight.name
        if not np.array_equal(rounded.astype(np.float32), values):
            continue  # not a rounded weight but something computed from one
        weight.CopyFrom(numpy_helper.from_array(rounded, name + GRAPH_HALF))
        casts.append(helper.make_node("Cast", [name + GRAPH_HALF], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    result: bytes = model.SerializeToString()
    return result


def _compare(
    model: nn.Module, views: Views, graphs: dict[str, bytes], shared: bool
) -> tuple[float, int]:
    """Largest difference between the network and its ONNX branches, and the dimension."""
    runs = {name: _session(graph) for name, graph in graphs.items() if name != OFFSET_NAME}
    ground_run, aerial_run = (runs[name] for name in ([SHARED_NAME] * 2 if shared else runs))
    sides = {"ground": ground_run, "aerial": aerial_run}
    ours, theirs, worst = {}, {}, 0.0
    for side, run in sides.items():
        spec: ViewSpec = getattr(views, side)
        branch = _Branch(model, side, spec).eval()
        for images in _samples(spec):
            few = max(2, _MOST_TOGETHER_PX // (spec.height_px * spec.width_px))
            parts = [images[start : start + few] for start in range(0, len(images), few)]
            with torch.no_grad():
                ours[side] = np.concatenate([branch(torch.from_numpy(p)).numpy() for p in parts])
            theirs[side] = np.concatenate([run(part) for part in parts])
            worst = max(worst, float(np.abs(ours[side] - theirs[side]).max()))
    if not worst <= TOLERANCE:
        raise BadModel(
            f"The exported network differs from the original by {worst:.2g}; allowed is "
            f"{TOLERANCE:g}. Nothing was written."
        )
    for before, after in zip(ours["ground"], theirs["ground"], strict=True):
        first = similarities(before, ours["aerial"], views, 360.0)
        now = similarities(after, theirs["aerial"], views, 360.0)
        if first[int(now.argmax())] < first.max() - TIE:
            raise BadModel("The exported network ranks another picture first. Nothing was written.")
    return worst, int(ours["ground"].shape[1])


def _compare_heads(model: nn.Module, graph: bytes, dim: int) -> float:
    """Largest difference between the regression of offsets and its ONNX file; BadModel."""
    rng = np.random.default_rng(12)
    drawn = rng.standard_normal((2, CHECKED, dim)).astype(np.float32)
    ground, aerial = drawn / np.linalg.norm(drawn, axis=2, keepdims=True)
    with torch.no_grad():
        ours = model.get_submodule("offset")(torch.from_numpy(ground), torch.from_numpy(aerial))
    theirs = _open_graph(graph).run(["offset"], {"ground": ground, "aerial": aerial})[0]
    worst = float(np.abs(ours.numpy() - theirs).max())
    if not worst <= TOLERANCE:
        raise BadModel(
            f"The exported regression of offsets differs from the original by {worst:.2g} halves "
            f"of a side; allowed is {TOLERANCE:g}. Nothing was written."
        )
    return worst


def _samples(spec: ViewSpec) -> list[U8]:
    """Noise of several grain sizes, narrow first where views may be narrow, whole last."""
    import cv2

    rng = np.random.default_rng(11)
    widths = [spec.width_px]
    if spec.side == "ground" and spec.representation == "narrow":
        widths.insert(0, max(spec.width_px // 4, 32))
    batches = []
    for width in widths:
        pictures = []
        most = _MOST_CHECKED_PX // (spec.height_px * spec.width_px)
        for n in range(min(CHECKED, max(2, most))):
            grain = 2 ** (n % 5)
            small = (max(1, spec.height_px // grain), max(1, width // grain), 3)
            noise = rng.integers(0, 256, small, dtype=np.uint8)
            pictures.append(cv2.resize(noise, (width, spec.height_px)))
        batches.append(np.stack(pictures))
    return batches


def _open_graph(graph: bytes) -> Any:
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _session(graph: bytes) -> Callable[[U8], F32]:
    session = _open_graph(graph)

    def run(images: U8) -> F32:
        vectors: F32 = session.run(["embeddings"], {"images": images})[0]
        return vectors

    return run


def run_info(
    run: RunFolder, views: Views, dim: int, half: bool = False, name: str = ""
) -> ModelInfo:
    """Facts about the network of a run, as its exported model tells them."""
    facts, config = run.info(), run.config()
    notes = [str(facts.get("notes", "")), "weights stored as float16" if half else ""]
    return ModelInfo(
        name=name or f"{Path(config['method']).stem}-{run.path.resolve().name}",
        ground=views.ground,
        aerial=views.aerial,
        dim=dim,
        azimuth_bins=views.azimuth_bins,
        equal_bins=views.equal_bins,
        headings_seen=views.headings_seen,
        fov_seen_deg=fov_seen_deg(run, views.fov_seen_deg),
        **{
            **{name: facts[name] for name in STATED if name in facts},
            "attributions": tuple(facts.get("attributions", ())),
            "notes": "; ".join(note for note in notes if note),
        },
    )


def fov_seen_deg(run: RunFolder, meant: tuple[float, float]) -> tuple[float, float]:
    """Narrowest and widest ground pictures, in degrees, that the steps of a run were shown.

    ``meant``: those that the method draws from panoramas; an end that was drawn to within the
    slack of :func:`crossview.model.as_wide_as` counts as reached, and a run whose log
    does not tell is believed.
    """
    shown = [entry["fov_deg"] for entry in run.entries()[0] if "fov_deg" in entry]
    if not shown:
        return meant
    low, high = min(ends[0] for ends in shown), max(ends[1] for ends in shown)
    return (
        meant[0] if meant[0] <= low <= meant[0] * FOV_SLACK else low,
        meant[1] if meant[1] / FOV_SLACK <= high <= meant[1] else high,
    )


class RunEmbedder:
    """The weights to use of a run (averaged where the recipe averages), in eval mode."""

    def __init__(
        self, run: RunFolder, page: Any, config: Any, views: Views, device: torch.device
    ) -> None:
        if not run.weights.is_file():
            raise BadModel(f"{run.path} holds no weights yet; let its training reach a save.")
        self._device = device
        model = build_without_weights(page, config)
        load_weights(model, run.weights)
        self._model = model.to(device).eval()
        self._views = views
        self.info: ModelInfo = run_info(run, views, self._dim())
        self.offset: Regression | None = self._regress if hasattr(model, "offset") else None
        digest = hashlib.sha256(json.dumps(run.config(), sort_keys=True).encode())
        digest.update(run.weights.read_bytes())
        self.fingerprint = digest.hexdigest()

    def ground(self, images: U8) -> F32:
        """See :class:`crossview.model.Embedder`."""
        return self._run("ground", images)

    def aerial(self, images: U8) -> F32:
        """See :class:`crossview.model.Embedder`."""
        return self._run("aerial", images)

    def _regress(self, ground: F32, aerial: F32) -> F32:
        """See :data:`crossview.model.Regression`."""
        sides = (
            torch.from_numpy(np.ascontiguousarray(s)).to(self._device) for s in (ground, aerial)
        )
        with torch.inference_mode():
            places: F32 = self._model.get_submodule("offset")(*sides).float().cpu().numpy()
        return places

    def _run(self, side: str, images: U8) -> F32:
        pixels = normalise(images, getattr(self._views, side), self._device)
        try:
            with torch.inference_mode():
                vectors: F32 = getattr(self._model, side)(pixels).float().cpu().numpy()
        except RuntimeError as problem:
            width, usual = images.shape[2], getattr(self._views, side).width_px
            if width >= usual:
                raise
            raise InvalidValue(
                f"The network cannot take a {side} picture of {width} of {usual} columns.\n"
                "Ask for a wider field of view."
            ) from problem
        return vectors

    def _dim(self) -> int:
        spec = self._views.aerial
        blank = np.zeros((2, spec.height_px, spec.width_px, 3), np.uint8)
        return int(self._run("aerial", blank).shape[1])
