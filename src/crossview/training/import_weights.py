"""A published checkpoint becomes a run folder: the authors' tensors by our names.

What a file cannot show, such as the number of attention heads, is taken as published and told.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from crossview._version import __version__
from crossview.errors import BadModel, InvalidValue
from crossview.files import write_together
from crossview.networks.weight_files import fit, read_weights
from crossview.training.run_folder import FORMAT, NAMES, WEIGHTS_NAME, RunFolder
from crossview.training.session import list_state
from crossview.training.train_state import save_weights


@dataclass(frozen=True, kw_only=True)
class KnownNetwork:
    """A published network, known by what its authors call its tensors."""

    name: str  # as its paper calls it
    method: str  # whose page reads it
    tensors: str  # a pattern, with which the name of some tensor begins, or a part after a dot


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Tensors of a file by the authors' names, without prefixes of wrappers."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    entry: str = ""  # of the file, below which they lie
    others: tuple[str, ...] = ()  # entries with as many tensors, such as an average
    unread: tuple[str, ...] = ()  # kinds of objects beside the tensors
    whose: tuple[KnownNetwork, ...] = ()  # that have such names; none: nobody's that is known

    @property
    def authors(self) -> str:
        """Whose they are, in words: "ConGeo, Sample4Geo or SinGeo"."""
        return _list_choices(network.name for network in self.whose)


def read_checkpoint(path: Path, entry: str = "", known: Iterable[KnownNetwork] = ()) -> Checkpoint:
    """Read a file of weights; nothing in it runs, and what is no tensor is left alone.

    ``entry``: the dictionary to take, where there are several. ``known``: networks that it may be
    of; what wrappers, such as Lightning's, put before their names is taken off. Raises InvalidValue
    where there is no such file or entry, BadModel for one that is damaged or holds no named
    tensors.
    """
    try:
        file = read_weights(path, entry)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as problem:
        raise InvalidValue(f"No checkpoint at {path}.") from problem
    except OSError as problem:
        raise InvalidValue(f"{path} cannot be read: {problem.strerror}.") from problem
    whose, prefix = _recognise(file.tensors, known)
    wrapped = bool(prefix) and all(name.startswith(prefix) for name in file.tensors)
    return Checkpoint(
        path=path,
        sha256=digest,
        tensors={n.removeprefix(prefix) if wrapped else n: v for n, v in file.tensors.items()},
        entry=file.entry,
        others=file.others,
        unread=file.unread,
        whose=whose,
    )


def _recognise(
    names: Iterable[str], known: Iterable[KnownNetwork]
) -> tuple[tuple[KnownNetwork, ...], str]:
    """The networks whose tensors have such names, and what stands before the first's."""
    found, prefix = list[KnownNetwork](), ""
    for network in known:
        sought = re.compile(rf"(^|\.)(?={network.tensors})")
        match = next(filter(None, map(sought.search, names)), None)
        if match is not None:
            prefix = prefix if found else match.string[: match.end()]
            found.append(network)
    return tuple(found), prefix


def _list_choices(names: Iterable[str]) -> str:
    """As a sentence lists them: "a, b or c"."""
    *others, last = list(names) or [""]
    return f"{', '.join(others)} or {last}" if others else last


def find_settings(page: Any, checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings that the tensors of a checkpoint show, as far as the page can tell."""
    return _call_page(page, "shown", checkpoint)


def list_unseen_settings(
    page: Any, checkpoint: Checkpoint, stated: Iterable[str]
) -> dict[str, str]:
    """The settings that a checkpoint does not show and nobody has ``stated``, with the reasons."""
    reasons = _call_page(page, "unseen", checkpoint)
    return {name: reason for name, reason in reasons.items() if name not in set(stated)}


def require_readable(page: Any, method: str, checkpoint: Checkpoint) -> None:
    """BadModel where the tensors are those of another method's network, which it names."""
    if getattr(page, "imported", None) is None:
        raise InvalidValue(f"{method} cannot read other code's checkpoints.")
    own = getattr(page, "PAPER", str(getattr(page, "__name__", "")).rpartition(".")[2])
    methods = [network.method for network in checkpoint.whose]
    if not methods or own.replace("_", "-") in methods:
        return
    raise BadModel(
        f"{checkpoint.path} is no checkpoint of {method}: its {len(checkpoint.tensors)} tensors "
        f"look like those of {checkpoint.authors}.\n"
        f"Try: crossview import {_list_choices(methods)}."
    )


def convert_tensors(page: Any, checkpoint: Checkpoint, config: Any) -> dict[str, Tensor]:
    """The weights of ``config``'s network; BadModel names what does not fit, and what would.

    All keys must be there, none may be left over, all shapes must agree, all values be finite.
    """
    require_readable(page, "this method", checkpoint)
    own = list_state(page, config)
    try:
        tensors: dict[str, Tensor] = page.imported(checkpoint.tensors, config)
    except (KeyError, IndexError, ValueError, RuntimeError) as problem:
        raise BadModel(
            f"{checkpoint.path} is no checkpoint of this method: {problem!r}"
        ) from problem
    fitting, complaint = fit(own, tensors, checkpoint.path)
    if complaint:
        unknown = "" if checkpoint.authors else " Its names are of no published network known here."
        raise BadModel(
            f"{checkpoint.path} does not fit these settings: {complaint}.{unknown}\n"
            f"{_would_fit(page, checkpoint, config)}"
        )
    return fitting


def require_place(out: Path, file: Path) -> None:
    """InvalidValue unless a run can be written to ``out``, or came from such a file already."""
    folder = RunFolder(out)
    try:
        imported = folder.config().get("imported")
    except BadModel:
        imported = None
    if not isinstance(imported, dict) or imported.get("file") != file.name:
        folder.require_new()


def write_run(
    out: Path, record: Mapping[str, Any], info: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> RunFolder:
    """A run folder without a training: config.json, info.json and the weights, whole or absent.

    One that holds exactly this already, such as of a command killed at its end, stays.
    """
    folder = RunFolder(out)
    small = folder.contents(dict(record), dict(info))
    if not folder.holds(small):
        folder.require_new()
    with folder.lock("crossview import"):
        if folder.holds(small):
            return folder
        folder.require_new()

        def write_weights(path: Path) -> None:
            save_weights(dict(weights), path)

        write_together(folder.path, {WEIGHTS_NAME: write_weights, **small}, NAMES)
    return folder


def make_run_record(
    method: str, config: Any, checkpoint: Checkpoint, trained_on: str, framing: Mapping[str, Any]
) -> dict[str, Any]:
    """config.json of an imported run; ``framing`` is the note of ``pairs.reading``."""
    return {
        "format": FORMAT,
        "crossview": __version__,
        "method": method,
        "config": asdict(config),
        "data": trained_on,
        **({"framing": dict(framing)} if framing else {}),
        "imported": {"file": checkpoint.path.name, "sha256": checkpoint.sha256},
    }


def format_setting(name: str, value: Any) -> str:
    """A setting as ``--config`` takes it: no blanks, so that no shell splits it."""
    if isinstance(value, tuple):
        value = list(value)
    text = str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
    return f"{name}={text}"


def group_reasons(reasons: Mapping[str, str]) -> dict[str, str]:
    """Reasons by settings, those with one reason in common side by side: "a, b"."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return {", ".join(same): reason for reason, same in names.items()}


def _call_page(page: Any, question: str, checkpoint: Checkpoint) -> dict[str, Any]:
    tell = getattr(page, question, None)
    try:
        return dict(tell(checkpoint.tensors)) if tell else {}
    except (KeyError, IndexError, ValueError, RuntimeError):
        return {}  # another network's; that its keys do not fit is said later


def _would_fit(page: Any, checkpoint: Checkpoint, config: Any) -> str:
    shown = find_settings(page, checkpoint)
    differ = {k: v for k, v in shown.items() if getattr(config, k, v) != v}
    lines = []
    if differ:
        listed = " ".join(
            f"--config {format_setting(name, value)}" for name, value in differ.items()
        )
        lines.append(f"Its shapes show: {listed}")
    unseen = list_unseen_settings(page, checkpoint, shown)
    if open_ones := {n: r for n, r in unseen.items() if n.endswith("_px") or n == "backbone"}:
        reasons = "; ".join(
            f"{name} ({reason})" for name, reason in group_reasons(open_ones).items()
        )
        lines.append(f"They leave open: {reasons}. Say it with --config NAME=VALUE.")
    return (
        "\n".join(lines) or "Its shapes do not tell which settings would; see the paper's tables."
    )
