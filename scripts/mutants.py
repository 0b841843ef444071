"""Changes that no test may overlook: ``python -m scripts.mutants`` makes each and runs its test.

``tests/mutants.toml`` lists numbers and choices that people feel, each with a change of it and the
test that must fail then. Every change is made in a copy of the package, one at a time. The exit
code is 1 if a test passes all the same, fails without any change, or a text is not there.
Words after the command pick entries: parts of the name of a file, of a test or of the old text.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests" / "mutants.toml"
PACKAGE = "src/crossview"
_FAILED, _PASSED = 1, 0  # exit codes of pytest; others say that it could not run the test


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of the package.

    ``old`` stands exactly once in ``file`` (below ``src/crossview``) and becomes ``new``; ``felt``
    says what a person would notice; ``test`` is the pytest node that must fail.
    """

    file: str
    old: str
    new: str
    felt: str
    test: str

    def __str__(self) -> str:
        return f"{self.file}: {self.old!r} -> {self.new!r}"

    @property
    def path(self) -> Path:
        """The file, from the root of the project."""
        return Path(PACKAGE) / self.file


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """The list, in its order."""
    with path.open("rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


def missing(mutant: Mutant) -> str | None:
    """Why an entry does not fit the package and the tests as they are; None if it does."""
    path = ROOT / mutant.path
    times = path.read_text(encoding="utf-8").count(mutant.old) if path.is_file() else 0
    if times != 1:
        return f"{mutant}: the text stands {times} times in the file, not once"
    file, _, name = mutant.test.partition("::")
    source = ROOT / file
    function = name.partition("[")[0].rpartition("::")[2]
    if not source.is_file() or f"def {function}(" not in source.read_text(encoding="utf-8"):
        return f"{mutant}: there is no test {mutant.test}"
    return None


def run_tests(source: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of the project on the package that lies in the folder ``source``."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(source), str(ROOT)]),
        # Compiled files are trusted by size and second, and a change may alter neither.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they take longer to load than most tests take
    }
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def survives(mutant: Mutant, source: Path) -> str | None:
    """What is wrong if the test does not fail on the changed copy; None if it does."""
    path = source / "crossview" / mutant.file
    original = path.read_text(encoding="utf-8")
    path.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        ran = run_tests(source, [mutant.test])
    finally:
        path.write_text(original, encoding="utf-8")
    if ran.returncode == _FAILED:
        return None
    if ran.returncode == _PASSED:
        return f"SURVIVED {mutant}\n  {mutant.test} passes all the same, though: {mutant.felt}"
    return f"COULD NOT RUN {mutant.test}:\n{(ran.stdout + ran.stderr)[-1500:]}"


def main(words: Sequence[str]) -> int:
    """Try the mutants that the words pick, all if there are none."""
    mutants = [
        mutant
        for mutant in read_mutants()
        if not words or any(word in f"{mutant} {mutant.test}" for word in words)
    ]
    problems = [problem for problem in map(missing, mutants) if problem is not None]
    if problems or not mutants:
        print("\n".join(problems or [f"No mutant is named like {' or '.join(words)}."]))
        return 1
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / PACKAGE, source / "crossview", ignore=ignore)
        unchanged = run_tests(source, sorted({mutant.test for mutant in mutants}))
        if unchanged.returncode != _PASSED:
            print(f"The tests fail without any change:\n{unchanged.stdout[-3000:]}")
            return 1
        for number, mutant in enumerate(mutants, 1):
            start = time.perf_counter()
            problem = survives(mutant, source)
            seconds = time.perf_counter() - start
            word = "killed" if problem is None else "LIVES"
            print(f"{number:3}/{len(mutants)} {word} {seconds:5.1f} s  {mutant}", flush=True)
            if problem is not None:
                problems.append(problem)
    print("\n".join(problems) or f"All {len(mutants)} are killed.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
