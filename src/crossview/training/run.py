"""The run folder: what a training is (config.json, info.json), was (log.jsonl) and has become.

``config.json``        method, its Config, data and splits: what a resumed run must agree with
``info.json``          facts for whoever exports the model: data, licence, synthetic or not
``state.safetensors``  everything needed to go on (:mod:`crossview.training.state`)
``model.safetensors``  the weights to use: averaged where the recipe averages
``log.jsonl``          one JSON object per report
"""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossview.errors import BadModel, InvalidValue
from crossview.files import append_lines, atomic_write, is_half_written, read_lines, sweep
from crossview.locks import INSIDE_NAME, locked

FORMAT = 1
CONFIG_NAME = "config.json"
INFO_NAME = "info.json"
STATE_NAME = "state.safetensors"
WEIGHTS_NAME = "model.safetensors"
LOG_NAME = "log.jsonl"
_BEGUN = {CONFIG_NAME, INFO_NAME}  # what a training that was killed at once has written


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

    def begin(self, config: dict[str, Any], info: dict[str, Any]) -> bool:
        """Create the folder, or check that it holds a run of the same ``config``.

        A training that was refused before its first step left nothing to keep. Returns whether
        there is a state to resume from. Another config raises InvalidValue that shows both values
        of every difference.
        """
        names = self._names()
        if names <= _BEGUN:
            self._create(config, info)
        elif CONFIG_NAME in names:
            _same(self.config(), config, self.path)
            sweep(self.path)
        else:
            raise InvalidValue(
                f"{self.path} is not empty and holds no training; choose another --out."
            )
        return self.state.is_file()

    def require_new(self) -> None:
        """Raise InvalidValue unless the folder is absent, empty or was only just begun."""
        if self.path.exists() and not (self.path.is_dir() and self._names() <= _BEGUN):
            raise InvalidValue(f"{self.path} is not empty; choose another --out.")

    def locked(self, verb: str) -> AbstractContextManager[None]:
        """Write in the folder while nobody else does; InUse says who does."""
        return locked(self.path, verb, make_parents=True)

    def _names(self) -> set[str]:
        """What lies in the folder, without what a killed process left half-written."""
        if not self.path.is_dir():
            return set()
        names = {file.name for file in self.path.iterdir()} - {INSIDE_NAME}
        return {name for name in names if not is_half_written(name)}

    def _create(self, config: dict[str, Any], info: dict[str, Any]) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise InvalidValue(f"Cannot create {self.path}: {problem.strerror}.") from problem
        sweep(self.path)
        atomic_write(self.path / INFO_NAME, _json(info))
        atomic_write(self.path / CONFIG_NAME, _json(config))

    def config(self) -> dict[str, Any]:
        """config.json; BadModel if this is no run folder."""
        return self._read(CONFIG_NAME)

    def info(self) -> dict[str, Any]:
        """info.json."""
        return self._read(INFO_NAME)

    def append(self, entry: dict[str, Any]) -> None:
        """One more line of the log."""
        append_lines(self.log, [entry])

    def entries(self) -> tuple[list[dict[str, Any]], bool]:
        """The log, and whether its last line was torn by a kill and is left out.

        A folder without a log has no entries. BadData names any other line that is damaged.
        """
        try:
            return read_lines(self.log)
        except FileNotFoundError:
            return [], False
        except OSError as problem:
            raise BadModel(f"{self.log} cannot be read: {problem.strerror}.") from problem

    def forget_after(self, step: int) -> None:
        """Drop the log's lines of steps that are not in the saved state, and a torn last line."""
        if self.log.is_file():
            kept = [entry for entry in self.entries()[0] if entry.get("step", 0) <= step]
            atomic_write(self.log, "".join(json.dumps(entry) + "\n" for entry in kept))

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as problem:
            raise BadModel(
                f"No {name} in {self.path}: not a run folder.\n"
                "Make one with: crossview train --method NAME --data DATA --out RUN"
            ) from problem
        except (OSError, ValueError) as problem:
            raise BadModel(f"{path} cannot be read: {problem}") from problem
        return values


def _same(old: dict[str, Any], new: dict[str, Any], where: Path) -> None:
    """Refuse other settings. Where pictures and pages lie may change; what they are may not."""
    free = {"crossview", "data"} | ({"method"} if "page" in old and "page" in new else set())
    kept = [{k: v for k, v in values.items() if k not in free} for values in (old, new)]
    flat_old, flat_new = _flat(kept[0]), _flat(json.loads(_json(kept[1])))
    names = sorted(set(flat_old) | set(flat_new))
    differences = [n for n in names if flat_old.get(n) != flat_new.get(n)]
    if differences:
        name = differences[0] if len(differences) == 1 else None
        shown = "; ".join(
            f"{n}: {flat_old.get(n)!r} there, {flat_new.get(n)!r} now"
            for n in ([name] if name else differences[:6])
        )
        raise InvalidValue(
            f"{where} holds a training with other settings and cannot be resumed with these:\n"
            f"{shown}.\nUse the same settings, or another --out."
        )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flat(value) if isinstance(value, dict) else {"": value}
        flat |= {f"{key}.{k}".rstrip("."): v for k, v in inner.items()}
    return flat


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + os.linesep.replace("\r\n", "\n")
