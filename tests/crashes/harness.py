"""What must hold when a command is killed: nothing half-written, the same end, nothing left over.

A trial restores what lay there before the command, kills it at one instant, looks at what is there,
runs it again to its end, and compares everything with a run that was never killed.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tests.crashes.trials import Ended, Server
from tests.crashes.verbs import VERBS, Verb

from crossview.files import is_half_written

Tree = dict[str, Any]  # names to contents, without times; folders to None

_TIME = re.compile(
    rb"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?( UTC|Z|\+00:00)?"  # and dates of pages
)
# Folders of multiprocessing, and the file by which tempfile tries whether a folder can be written.
PYTHONS_OWN = re.compile(r"\.tmp/(pymp-.*|[a-z0-9_]{8}(/.*)?)")
FEWER = 3  # changes that threads of a library may make less than when they were counted
_ALWAYS_TIMES = {"seconds", "created", "checksum"}


@dataclass
class Case:
    """A verb with what lies there before, and what a run that was not killed leaves."""

    server: Server
    name: str
    work: Path
    verb: Verb = None  # by its name
    changes: int = 0
    seconds: float = 0.0
    before: Tree = field(default_factory=dict)
    whole: Tree = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)  # changes at which no file was being written

    def __post_init__(self) -> None:
        self.verb = self.verb or VERBS[self.name]
        self.work.mkdir(parents=True)
        self._run(self.verb.before)
        self.before = read_tree(self.work, self.verb)
        self.kept = self.work.with_name(f"{self.work.name}-before")
        shutil.copytree(self.work, self.kept, symlinks=True)
        ended = self._run(self.verb.run)
        self.changes, self.seconds = ended.changes, ended.seconds
        self.whole = read_tree(self.work, self.verb)

    def _run(self, function: Any) -> Ended:
        (ended,) = self.server.run({"function": function.__name__, "folder": str(self.work)})
        if ended.status:
            raise RuntimeError(f"{self.name}: {function.__name__} failed\n{ended.said}")
        return ended

    def restore(self) -> None:
        """What lay there before the command, at the same place."""
        shutil.rmtree(self.work)
        shutil.copytree(self.kept, self.work, symlinks=True)

    def start(self, count: int = 1, **how: Any) -> list[Ended]:
        """Run the command, or several of them at the same time."""
        job = {"function": self.verb.run.__name__, "folder": str(self.work), **how}
        return self.server.run(*([job] * count))

    def trial(self, *, torn: bool = False, **how: Any) -> list[str]:
        """What is wrong after a kill and after the next run; nothing where all is well.

        ``torn``: of the file that was being written at the kill, half of what is new is missing.
        """
        if torn and how["fatal"] in self.closed:
            return []
        self.restore()
        (killed,) = self.start(**how)
        if killed.killed and "fatal" in how and not killed.opened:
            self.closed.add(how["fatal"])
        fewer = how.get("fatal", 0) - 1 - killed.changes
        ended = killed.status == 0 and ("after_s" in how or 0 <= fewer <= FEWER)
        if not killed.killed and not ended:
            return [f"it was to be killed and ended with {killed.status}: {killed.said[-800:]}"]
        if torn and not (killed.killed and killed.opened and tear(*killed.opened)):
            return []
        problems = [f"after the kill, {text}" for text in self.find_half_written()]
        (again,) = self.start()
        if again.status:
            problems.append(f"run again it ends with {again.status}: {again.said[-800:]}")
        else:
            problems += self._compare(2)
        return problems

    def _compare(self, runs: int) -> list[str]:
        """How what is there differs from the end of a run that was never killed.

        A file that every run adds to holds the lines of the last one whole, after some of those of
        at most ``runs - 1`` others, of which one may be torn.
        """
        now = read_tree(self.work, self.verb)
        for name in self.verb.appended:
            old, new = self.before.get(name, []), self.whole[name][len(self.before.get(name, [])) :]
            lines = now.get(name, [])[len(old) :]
            ended = lines[-len(new) :] == new and len(lines) <= runs * len(new)
            if ended and all(line in new or isinstance(line, bytes) for line in lines):
                now[name] = self.whole[name]
        return compare(now, self.whole)

    def find_half_written(self) -> list[str]:
        """Files that are neither as before nor as at the end."""
        now = read_tree(self.work, self.verb)
        problems = []
        for name, content in now.items():
            if content is None or _is_ours_for_now(name) or self._may_be_unfinished(name):
                continue
            if name in self.verb.appended:
                continue
            if content not in [tree[name] for tree in (self.before, self.whole) if name in tree]:
                problems.append(f"{name} is neither as before nor as at the end")
        for folder in self.verb.together:
            there = _below(now, folder)
            there = {n: content for n, content in there.items() if not self._may_be_unfinished(n)}
            if there and there not in (_below(self.before, folder), _below(self.whole, folder)):
                problems.append(f"{folder} is a mixture: {sorted(there)}")
        return problems

    def _may_be_unfinished(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.verb.unfinished)

    def two_at_once(self) -> list[str]:
        """What is wrong after the same command ran twice at the same time."""
        self.restore()
        ended = self.start(2)
        codes = sorted(one.status for one in ended)
        problems = []
        for one in ended:
            if one.status and "is being written by another process" not in one.said:
                problems.append(f"one of two ended with {one.status}: {one.said[-800:]}")
        if codes[0] != 0:
            problems.append("neither of two got through")
        return problems + self._compare(2)

    def instants(self, most: int | None, seed: int = 0) -> list[dict[str, Any]]:
        """Instants to kill at: ``most`` drawn from all, the very end among them, or all."""
        at_changes = [{"fatal": n} for n in range(1, self.changes + 2)]
        at_changes += [{"fatal": n, "torn": True} for n in range(2, self.changes + 2)]
        if most is None:
            return at_changes
        draw = random.Random(f"{self.name} {seed}")
        return draw.sample(at_changes, min(most, len(at_changes)))

    def moments(self, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """Seeded moments, for what libraries write without telling Python."""
        if count and self.verb.costly:  # the first run drew and traced; a trial only writes that
            self.restore()
            self.seconds = self.start()[0].seconds
        draw = random.Random(f"{self.name} moments {seed}")
        return [{"after_s": round(draw.uniform(0.0, self.seconds), 4)} for _ in range(count)]


def read_tree(folder: Path, verb: Verb) -> Tree:
    """Every file below a folder, with what times put into it taken out."""
    tree: Tree = {}
    for place, folders, files in os.walk(folder):
        for name in folders:
            tree[str(Path(place, name).relative_to(folder))] = None
        for name in files:
            path = Path(place, name)
            if path.is_file():
                tree[str(path.relative_to(folder))] = _without_times(path, verb)
    return {name: content for name, content in tree.items() if not PYTHONS_OWN.fullmatch(name)}


def _without_times(path: Path, verb: Verb) -> Any:
    data = path.read_bytes()
    if path.suffix in {".json", ".jsonl"}:
        times = _ALWAYS_TIMES | set(verb.times)
        documents = data.splitlines() if path.suffix == ".jsonl" else [data]
        return [_parse(document, times) for document in documents]
    if path.suffix in {".html", ".svg", ".md", ".csv", ".geojson", ".tex"}:
        return _TIME.sub(b"(time)", data)
    return data


def _parse(document: bytes, times: set[str]) -> Any:
    try:
        return _strip(json.loads(document), times)
    except ValueError:
        return document  # torn


def _strip(value: Any, times: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: "(time)" if k in times else _strip(v, times) for k, v in value.items()}
    if isinstance(value, list):
        return [_strip(inner, times) for inner in value]
    return _TIME.sub(b"(time)", value.encode()).decode() if isinstance(value, str) else value


def _below(tree: Tree, folder: str) -> Tree:
    return {
        name: content
        for name, content in tree.items()
        if name.startswith(f"{folder}/") and not _is_ours_for_now(name)
    }


def _is_ours_for_now(name: str) -> bool:
    """Whether this is a lock, or in or of what has not got its name yet."""
    return any(
        is_half_written(part) or re.fullmatch(r"\.(.*\.)?lock", part) for part in Path(name).parts
    )


def compare(now: Tree, whole: Tree) -> list[str]:
    """How two trees differ, in words."""
    return [
        *(f"{name} is left over" for name in sorted(now.keys() - whole.keys())),
        *(f"{name} is missing" for name in sorted(whole.keys() - now.keys())),
        *(f"{n} is another: {_differ(now[n], whole[n])}" for n in sorted(now.keys() & whole.keys())
          if now[n] != whole[n]),
    ]  # fmt: skip


def _differ(one: Any, other: Any) -> str:
    a, b = (x if isinstance(x, bytes) else repr(x).encode() for x in (one, other))
    first = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), -1)
    return f"{a[max(0, first - 60) : first + 60]!r} is not {b[max(0, first - 60) : first + 60]!r}"


def tear(path: str, size: int) -> bool:
    """Leave half of what a file has got since it was ``size`` bytes; whether there was any."""
    try:
        now = os.stat(path).st_size
    except OSError:
        return False
    if now <= size:
        return False
    os.truncate(path, size + (now - size) // 2)
    return True
