"""The run folder: what a training is (config.json, info.json), was (log.jsonl) and has become.

``config.json``        method, its Config, data and splits: what a resumed run must agree with
``pairs.npz``          what the pairs were, by fact, to say where others differ
``info.json``          facts for whoever exports the model: data, licence, synthetic or not
``state.safetensors``  everything needed to go on (``training.train_state``)
``model.safetensors``  the weights to use: averaged where the recipe averages
``log.jsonl``          one JSON object per report

Names of pairs count from the data's own folder, so a data set that was moved or renamed is the same
one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossview.errors import BadData, BadModel, CrossviewError, InvalidValue
from crossview.files import append_lines, atomic_write, list_entries, read_lines, sweep
from crossview.lists import name_key
from crossview.locks import lock
from crossview.pairs.table import PairTable
from crossview.schema import Count, Text, check_known, read_object

TableFacts = Mapping[
    str, NDArray[Any]
]  # texts [N] or numbers [N] or [N, 2], by the name of the fact
OF_GROUND = ("ground_latlon", "heading_deg", "fov_deg", "perspective")
OF_AERIAL = ("aerial_latlon", "metres_per_px", "up_bearing_deg")
OF_ROWS = ("pairs", "offset_px", "ignored_offset_px")
_NAMES = ("ground", "aerial")
_NAMED_FACTS = 3  # facts that differ and are named


def collect_facts(table: PairTable) -> TableFacts:
    """All that a training takes from ``table`` beside the pictures' content."""
    facts: dict[str, NDArray[Any]] = {
        "ground": np.array([name_key(name) for name in table.ground_ids()], dtype=np.str_),
        "aerial": np.array([name_key(name) for name in table.aerial_ids()], dtype=np.str_),
        "queries": np.array([table.queries]),
        "ignored": table.ignored,
    }
    return facts | {name: getattr(table, name) for name in (*OF_GROUND, *OF_AERIAL, *OF_ROWS)}


def digest_facts(facts: TableFacts) -> dict[str, str]:
    """12 hex digits for each fact; the same numbers have the same on every machine."""
    return {
        name: hashlib.sha256(_encode(values)).hexdigest()[:12] for name, values in facts.items()
    }


def pack_facts(facts: Mapping[str, TableFacts]) -> bytes:
    """The facts of several splits as the content of a file, for :func:`read_facts`."""
    arrays = {
        f"{split}.{name}": np.frombuffer("\0".join(values).encode(), np.uint8)
        if values.dtype.kind == "U"
        else values
        for split, split_facts in facts.items()
        for name, values in split_facts.items()
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def read_facts(path: Path) -> dict[str, TableFacts]:
    """Facts by split, of a file that holds :func:`pack_facts`; BadData if it holds none."""
    facts: dict[str, dict[str, NDArray[Any]]] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                split, _, name = key.partition(".")
                values = arrays[key]
                if values.dtype == np.uint8:
                    values = np.array(values.tobytes().decode().split("\0"), dtype=np.str_)
                facts.setdefault(split, {})[name] = values
    except Exception as problem:  # numpy and zipfile raise whatever damaged bytes lead to
        raise BadData(f"{path} cannot be read: {problem}.") from problem
    return dict(facts)


def describe_differences(then: TableFacts, now: TableFacts) -> str:
    """Which facts differ, in how many places, and the first of each; "" if none does."""
    differences = list(_list_differences(then, now))
    more = (
        f"; and {len(differences) - _NAMED_FACTS} facts more"
        if len(differences) > _NAMED_FACTS
        else ""
    )
    return "; ".join(differences[:_NAMED_FACTS]) + more


def digest_names(table: PairTable, root_name: str) -> str:
    """What run folders kept of a table before they kept facts: names of files, and the relation.

    ``root_name``: what the data's own folder was called then.
    """
    digest = hashlib.sha256()
    for path in (*table.ground, *table.aerial):
        folder = root_name if path.parent == table.root else path.parent.name
        digest.update(f"{folder}/{path.name}\n".encode())
    digest.update(table.pairs.tobytes() + table.ignored.tobytes())
    return digest.hexdigest()[:12]


def _list_differences(then: TableFacts, now: TableFacts) -> Iterator[str]:
    for name in (name for name in then if name in now):
        old, new = then[name], now[name]
        if _encode(old) == _encode(new):
            continue
        if name in _NAMES:
            yield _describe_names(name, old, new)
        elif old.shape != new.shape:
            yield f"{name}: {len(old):,} then, {len(new):,} now"
        elif name not in OF_GROUND + OF_AERIAL or len(then[_get_side(name)]) != len(old):
            changed = np.flatnonzero(_find_differing(old, new))
            yield f"{name} of {len(changed):,} of {len(old):,}, the first in row {changed[0] + 1}"
        else:
            changed = np.flatnonzero(_find_differing(old, new))
            first, side = changed[0], _get_side(name)
            before, after = _format_value(old[first]), _format_value(new[first])
            yield (
                f"{name} of {len(changed):,} of {len(old):,} {side} pictures, the first "
                f"{then[side][first]}: {before} then, {after} now"
            )


def _describe_names(side: str, old: NDArray[Any], new: NDArray[Any]) -> str:
    gone, come = (sorted(set(a) - set(b)) for a, b in ((old, new), (new, old)))
    if not gone and not come:
        return f"the order of the {side} pictures"
    counts = [
        f"{len(names):,} {what}, the first {names[0]}"
        for names, what in ((gone, "gone"), (come, "new"))
        if names
    ]
    return f"{side} pictures: {'; '.join(counts)}"


def _get_side(name: str) -> str:
    return "ground" if name in OF_GROUND else "aerial"


def _find_differing(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
    """[N] whether the entries differ; unknown is unknown."""
    apart: NDArray[np.bool_] = old != new
    if old.dtype.kind == "f":
        apart &= ~(np.isnan(old) & np.isnan(new))
    rows: NDArray[np.bool_] = np.any(apart.reshape(len(old), -1), axis=1)
    return rows


def _format_value(value: Any) -> str:
    return ", ".join(f"{number:g}" for number in np.atleast_1d(value).astype(float))


def _encode(values: NDArray[Any]) -> bytes:
    """The same bytes for the same facts: one NaN, one zero, one order of bytes."""
    if values.dtype.kind == "U":
        return "\0".join(values.tolist()).encode()
    kind = {"f": "<f8", "i": "<i8", "b": "|b1"}[values.dtype.kind]
    plain = values.astype(kind)
    if kind == "<f8":
        plain = np.where(np.isnan(plain), np.nan, plain) + 0.0
    return repr(values.shape).encode() + plain.tobytes()


FORMAT = 1
CONFIG_NAME = "config.json"
INFO_NAME = "info.json"
STATE_NAME = "state.safetensors"
WEIGHTS_NAME = "model.safetensors"
LOG_NAME = "log.jsonl"
PAIRS_NAME = "pairs.npz"
NAMES = (PAIRS_NAME, WEIGHTS_NAME, STATE_NAME, LOG_NAME, INFO_NAME, CONFIG_NAME)
_BEGUN = {CONFIG_NAME, INFO_NAME, PAIRS_NAME}  # what a training that was killed at once has written
_OURS = {  # of which a file of ours has at least one
    CONFIG_NAME: {"method", "config", "data"},
    INFO_NAME: {"training_data", "synthetic", "licence", "notes"},
}
_OF_PAIRS = re.compile(r"(train|val)\.(facts\..*|digest)$")  # told by `_other_pairs`


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The types of what ``config.json`` holds, where it does: pages and versions add more."""

    method: Text = ""
    config: dict[str, Any] = field(default_factory=dict)
    data: Text = ""
    page: Text = ""
    crossview: Text = ""
    decoding: Text = ""
    format: Count = 1
    framing: dict[str, Any] = field(default_factory=dict)
    imported: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] | None = None
    val: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """The same of one split: how many pairs, and digests of what they were."""

    rows: Count = 0
    facts: dict[str, Text] = field(default_factory=dict)
    digest: Text | None = None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The same of ``info.json``."""

    synthetic: bool = False
    training_data: Text = ""
    licence: Text = ""
    notes: Text = ""


def _is_entry(entry: Mapping[str, Any]) -> bool:
    """Whether a line of a log has numbers where readers count on them."""
    seen = entry.get("fov_deg", [0, 0])
    numbers = [entry.get(name, 0) for name in ("step", "epoch", "seconds")]
    losses = {**entry, "fov_deg": None}.values() if "loss" in entry else ()
    return (
        isinstance(seen, list)
        and len(seen) == 2
        and all(type(value) in {int, float} for value in (*numbers, *seen))
        and all(type(value) in {int, float, type(None)} for value in losses)
    )


@dataclass(frozen=True)
class RunFolder:
    """Paths and small files of one training."""

    path: Path

    @property
    def state(self) -> Path:
        """The file to resume from; absent before the first save."""
        return self.path / STATE_NAME

    @property
    def weights(self) -> Path:
        """The file to export from; absent before the first save."""
        return self.path / WEIGHTS_NAME

    @property
    def log(self) -> Path:
        """JSON lines."""
        return self.path / LOG_NAME

    def begin(
        self,
        config: dict[str, Any],
        info: dict[str, Any],
        tables: Mapping[str, PairTable] | None = None,
        renew: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> bool:
        """Create the folder, or check that it holds a run of the same ``config`` and ``tables``.

        ``tables``: the pairs of the splits that ``config`` tells the rows of. A training that was
        refused before its first step left nothing to keep. Returns whether there is a state to
        resume from. Another config, or other pairs, raises InvalidValue that shows both values.
        ``renew``: the settings of an older run as they are noted today, when a method may have got
        settings, or lost some.
        """
        facts = {split: collect_facts(table) for split, table in (tables or {}).items()}
        for split, some in facts.items():
            config = {**config, split: {**config[split], "facts": digest_facts(some)}}
        names = self._names()
        if self._only_begun():
            self._create(config, info, facts)
        elif CONFIG_NAME in names:
            old = _renewed(self.config(), renew)
            _same(old, config, self.path, self._other_pairs(old, config, tables or {}, facts))
            sweep(self.path)
        else:
            raise InvalidValue(
                f"{self.path} is not empty and holds no training; choose another --out."
            )
        return self.state.is_file()

    def contents(self, config: dict[str, Any], info: dict[str, Any]) -> dict[str, str]:
        """The small files by name; config.json, which makes it a run folder, is the last."""
        return {INFO_NAME: _json(info), CONFIG_NAME: _json(config)}

    def holds(self, contents: Mapping[str, str]) -> bool:
        """Whether weights lie there with exactly these small files, and nothing else."""
        if self._names() != {*contents, WEIGHTS_NAME}:
            return False
        try:
            return all((self.path / name).read_text("utf-8") == contents[name] for name in contents)
        except (OSError, UnicodeDecodeError):
            return False

    def require_new(self) -> None:
        """Raise InvalidValue unless the folder is absent, empty or was only just begun."""
        if self.path.exists() and not (self.path.is_dir() and self._only_begun()):
            raise InvalidValue(f"{self.path} is not empty; choose another --out.")

    @contextmanager
    def discard_refused(self) -> Iterator[None]:
        """Remove what was begun in a new folder, if the training is refused inside of the block."""
        is_new, was_empty = not self.path.exists(), not self._names()
        try:
            yield
        except CrossviewError:
            if was_empty and self.path.is_dir() and self._only_begun():
                for name in _BEGUN:
                    (self.path / name).unlink(missing_ok=True)
                if is_new:
                    with suppress(OSError):  # not there, or something else lies in it
                        self.path.rmdir()
            raise

    def _only_begun(self) -> bool:
        """Whether nothing lies there but what a training that was killed at once has written.

        A file of the same name that is whole and not ours is somebody's, and stays.
        """
        if not self._names() <= _BEGUN:
            return False
        for name, keys in _OURS.items():
            with suppress(BadModel):  # absent, or half-written by a version that could do that
                if (values := self._read(name)) and not keys & values.keys():
                    return False
        return True

    def lock(self, verb: str) -> AbstractContextManager[None]:
        """Write in the folder while nobody else does; InUse says who does."""
        return lock(self.path, verb, make_parents=True)

    def _names(self) -> set[str]:
        """What lies in the folder, without hidden files: locks, and what was left half-written."""
        return {entry.name for entry in list_entries(self.path)} if self.path.is_dir() else set()

    def keeps_facts(self) -> bool:
        """Whether the folder holds what its pairs were, so that other pairs are noticed."""
        return "facts" in (self.config().get("train") or {})

    def _other_pairs(
        self,
        old: dict[str, Any],
        new: dict[str, Any],
        tables: Mapping[str, PairTable],
        facts: Mapping[str, TableFacts],
    ) -> str:
        """In words where the pairs of today are not those that the run began with; or nothing."""
        sentences = []
        for split, table in tables.items():
            then, now = old.get(split) or {}, new[split]
            if "facts" not in then:
                root = _root_name(str(old.get("data", "")))
                names = {digest_names(table, name) for name in (root, table.root.name)}
                if then.get("digest") not in {None, *names}:
                    sentences.append(
                        f"the files' names or the relation of split {split} (not kept)"
                    )
                continue
            other = [n for n, digest in then["facts"].items() if now["facts"].get(n) != digest]
            if other := [name for name in other if name in now["facts"]]:
                words = describe_differences(self._facts().get(split, {}), facts[split])
                sentences.append(f"{split}: {words or ', '.join(other)}")
        return "; ".join(sentences)

    def _facts(self) -> dict[str, TableFacts]:
        try:
            return read_facts(self.path / PAIRS_NAME)
        except BadData:
            return {}  # the digests say that something differs, if not what

    def _create(
        self, config: dict[str, Any], info: dict[str, Any], facts: Mapping[str, TableFacts]
    ) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise InvalidValue(f"Cannot create {self.path}: {problem.strerror}.") from problem
        sweep(self.path)
        if facts:
            atomic_write(self.path / PAIRS_NAME, pack_facts(facts))
        for name, text in self.contents(config, info).items():
            atomic_write(self.path / name, text)

    def config(self) -> dict[str, Any]:
        """config.json; BadModel if this is no run folder."""
        values = self._read(CONFIG_NAME)
        try:
            check_known(RunRecord, values)
            for split in ("train", "val"):
                check_known(SplitRecord, values.get(split) or {})
        except ValueError as problem:
            raise BadModel(f"{self.path / CONFIG_NAME} is damaged: {problem}.") from problem
        return values

    def info(self) -> dict[str, Any]:
        """info.json."""
        values = self._read(INFO_NAME)
        try:
            check_known(RunInfo, values)
        except ValueError as problem:
            raise BadModel(f"{self.path / INFO_NAME} is damaged: {problem}.") from problem
        return values

    def append(self, entry: dict[str, Any]) -> None:
        """One more line of the log."""
        append_lines(self.log, [entry])

    def entries(self) -> tuple[list[dict[str, Any]], bool]:
        """The log, and whether its last line was torn by a kill and is left out.

        A folder without a log has no entries. BadData names any other line that is damaged.
        """
        try:
            entries, torn = read_lines(self.log)
            if not all(map(_is_entry, entries)):
                raise BadData(f"{self.log} is damaged: a step is no number, or a loss.")
            return entries, torn
        except FileNotFoundError:
            return [], False
        except OSError as problem:
            raise BadModel(f"{self.log} cannot be read: {problem.strerror}.") from problem

    def forget_after(self, step: int) -> bool:
        """Drop the log's lines of steps that are not in the saved state, and a torn last line.

        Of the saved step its validation is dropped too, as it may not be whole. Returns whether
        there was one: who resumes makes it again.
        """
        if not self.log.is_file():
            return False
        entries = self.entries()[0]
        kept = [e for e in entries if e.get("step", 0) < step + ("validation" not in e)]
        atomic_write(self.log, "".join(json.dumps(entry) + "\n" for entry in kept))
        return any(e.get("step") == step and "validation" in e for e in entries)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            return read_object(path)
        except FileNotFoundError as problem:
            raise BadModel(
                f"No {name} in {self.path}: not a run folder.\n"
                "Make one with: crossview train --method NAME --data DATA --out RUN"
            ) from problem
        except (OSError, ValueError) as problem:
            raise BadModel(f"{path} cannot be read: {problem}") from problem


def _before_framing(old: dict[str, Any], new: dict[str, Any]) -> tuple[Any, Any]:
    """Both, comparable, if the older run noted no framing: it stood among its settings.

    What changes the pixels of whole pictures is compared, not what is said of them.
    """
    framing = new.get("framing", {})
    rows = {"keep_rows": old["config"].get("keep_rows", [0.0, 1.0]), "ground_resize": None}
    gone = {"keep_rows"} - set(new["config"])
    gone |= {"elevation_deg", "footprint_m"} if framing else set()
    settings = [{k: v for k, v in one["config"].items() if k not in gone} for one in (old, new)]
    return (
        {**old, "config": settings[0], "framing": rows if framing else {}},
        {**new, "config": settings[1], "framing": {k: framing[k] for k in rows if k in framing}},
    )


def _renewed(
    record: dict[str, Any], renew: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> dict[str, Any]:
    """The record of an older run, with its settings as they are noted today."""
    if not isinstance(record.get("config"), dict):
        return record
    return {**record, "config": json.loads(_json(dict(renew(record["config"]))))}


def _same(old: dict[str, Any], new: dict[str, Any], where: Path, other_pairs: str) -> None:
    """Refuse other settings and pairs. Where pictures and pages lie may change, not what they are.

    ``other_pairs``: where the pairs differ, in words.
    """
    free = {"crossview", "data"} | ({"method"} if "page" in old and "page" in new else set())
    kept = [{k: v for k, v in values.items() if k not in free} for values in (old, new)]
    kept[1] = json.loads(_json(kept[1]))
    if "framing" not in old and isinstance(old.get("config"), dict):
        kept[:] = _before_framing(*kept)
    flat_old, flat_new = (flatten(values) for values in kept)
    names = sorted(set(flat_old) | set(flat_new))
    names = [name for name in names if not _OF_PAIRS.match(name)]
    differences = [n for n in names if flat_old.get(n) != flat_new.get(n)]
    if differences or other_pairs:
        lines = [
            f"{n}: {flat_old.get(n)!r} there, {flat_new.get(n)!r} now" for n in differences[:6]
        ]
        what = "other settings" if differences else "other pairs"
        raise InvalidValue(
            f"{where} holds a training with {what} and cannot be resumed with these:\n"
            f"{'; '.join([*lines, *([other_pairs] if other_pairs else [])])}.\n"
            f"Use the same {'settings' if differences else 'pairs'}, or another --out."
        )


def _root_name(data: str) -> str:
    """What the folder of a data set was called: of ``NAME:ROOT`` or ``FILE``, as given."""
    path = Path(data.partition(":")[2] or data)
    return path.parent.name if path.suffix else path.name


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an object within objects, by names such as ``config.lr``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = flatten(value) if isinstance(value, dict) else {"": value}
        flat |= {f"{key}.{k}".rstrip("."): v for k, v in inner.items()}
    return flat


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + os.linesep.replace("\r\n", "\n")
