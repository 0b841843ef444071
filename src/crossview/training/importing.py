"""A published checkpoint becomes a run folder: the authors' tensors by our names.

Files are read weights-only; nothing in them is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossview import __version__
from crossview.errors import BadModel, InvalidValue
from crossview.training.run import FORMAT, RunFolder
from crossview.training.setup import build_without_weights
from crossview.training.state import save_weights

NESTED = ("model_state_dict", "state_dict", "model")  # where training scripts put the tensors
WRAPPER = "module."  # of data parallelism


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Tensors of a file by the authors' names, without the wrapper's prefix."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a .pth, .pt or .safetensors file; BadModel if it holds no named tensors."""
    try:
        values = _read(path)
    except FileNotFoundError as problem:
        raise InvalidValue(f"No checkpoint at {path}.") from problem
    except Exception as problem:  # unpickling raises whatever the file provokes
        said = (str(problem).splitlines() or [""])[0][:200]
        raise BadModel(
            f"{path} cannot be read weights-only: {type(problem).__name__}: {said}\n"
            "Only tensors in dictionaries are read; code inside a file never runs."
        ) from problem
    while nested := next((n for n in NESTED if isinstance(values.get(n), Mapping)), None):
        values = values[nested]
    tensors = {k.removeprefix(WRAPPER): v for k, v in values.items() if isinstance(v, Tensor)}
    if not tensors:
        raise BadModel(f"{path} holds no named tensors; its entries: {', '.join(values)[:200]}.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(path=path, sha256=digest, tensors=tensors)


def shown_settings(page: Any, checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings that the shapes in a checkpoint show, as far as the page can tell."""
    tell = getattr(page, "shown", None)
    try:
        return dict(tell(checkpoint.tensors)) if tell else {}
    except (KeyError, IndexError, ValueError, RuntimeError):
        return {}  # another network's; that its keys do not fit is said later


def our_tensors(page: Any, checkpoint: Checkpoint, config: Any) -> dict[str, Tensor]:
    """The weights of ``config``'s network; BadModel names what does not fit, and what would.

    All keys must be there, none may be left over, all shapes must agree.
    """
    rename = getattr(page, "imported", None)
    if rename is None:
        raise InvalidValue("This method cannot read other code's checkpoints.")
    own = build_without_weights(page, config).state_dict()
    try:
        tensors: dict[str, Tensor] = rename(checkpoint.tensors, config)
    except (KeyError, IndexError, ValueError, RuntimeError) as problem:
        raise BadModel(
            f"{checkpoint.path} is no checkpoint of this method: {problem!r}"
        ) from problem
    if complaint := _complaint(own, tensors):
        raise BadModel(
            f"{checkpoint.path} does not fit these settings: {complaint}.\n"
            f"{_would_fit(page, checkpoint, config)}"
        )
    return {name: value.to(own[name].dtype) for name, value in tensors.items()}


def write_run(
    out: Path, record: Mapping[str, Any], info: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> RunFolder:
    """A run folder without a training: config.json, info.json and the weights."""
    folder = RunFolder(out)
    folder.require_new()
    with folder.locked("crossview import"):
        folder.require_new()
        folder.begin(dict(record), dict(info))
        save_weights(dict(weights), folder.weights)
    return folder


def record_of(
    method: str, config: Any, checkpoint: Checkpoint, trained_on: str, framing: Mapping[str, Any]
) -> dict[str, Any]:
    """config.json of an imported run; ``framing`` is the note of ``pairs.framing``."""
    return {
        "format": FORMAT,
        "crossview": __version__,
        "method": method,
        "config": asdict(config),
        "data": trained_on,
        **({"framing": dict(framing)} if framing else {}),
        "imported": {"file": checkpoint.path.name, "sha256": checkpoint.sha256},
    }


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    values = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    return values if isinstance(values, Mapping) else {}


def _complaint(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The first disagreement, in words; nothing if there is none."""
    for name, value in own.items():
        if name in given and given[name].shape != value.shape:
            return f"{name} is {list(given[name].shape)} there and {list(value.shape)} here"
    missing, left = sorted(set(own) - set(given)), sorted(set(given) - set(own))
    if missing:
        return f"{len(missing)} tensors are missing, such as {missing[0]}"
    return f"{len(left)} tensors are left over, such as {left[0]}" if left else ""


def _would_fit(page: Any, checkpoint: Checkpoint, config: Any) -> str:
    shown = shown_settings(page, checkpoint)
    differ = {k: v for k, v in shown.items() if getattr(config, k, v) != v}
    if not differ:
        return "Its shapes do not tell which settings would; see the paper's tables."
    listed = " ".join(f"--config {name}={_value(value)}" for name, value in differ.items())
    return f"Its shapes show: {listed}"


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
