"""Build what would be released, and look at it as a stranger would. Run by ``make release-check``.

The wheel and the source archive are built, their contents and facts looked at, and the wheel is
installed into a fresh environment with nothing but files whose sha256 stands in
``requirements/install.txt``. A bill of materials (CycloneDX) of that environment, and of the
browser libraries that the wheel carries, is written beside them into ``dist``.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIST, TRIED = ROOT / "dist", ROOT / "build" / "release-check"
LOCKS = ("install", "serve", "train", "dev", "release", "docs")
_PINNED = re.compile(
    r"^([\w.-]+)==([^\s;]+)[^\n]*\n((?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n)*)", re.M
)
_IN_THE_WHEEL = (
    "crossview/__init__.py",
    "crossview/py.typed",
    "crossview/packaged_models/town/model.json",
    "crossview/web/vendor/vendor.json",
    "crossview/web/vendor/leaflet.LICENSE",
    "crossview/web/vendor/maplibre-gl.LICENSE",
)


def main() -> int:
    """0 if it can be released; else what is wrong stands on stderr."""
    problems = [*find_lock_problems(ROOT)]
    wheel, source = build()
    problems += [*find_wheel_problems(wheel), *find_source_problems(source, wheel)]
    python = install(wheel)
    write_bill(python, DIST / "crossview.cdx.json")
    for path in (wheel, source):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def read_lock(path: Path) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of every package of a lock, by its name."""
    found = _PINNED.findall(path.read_text(encoding="utf-8"))
    return {name.lower(): (version, hashes.count("--hash")) for name, version, hashes in found}


def read_constraints(path: Path) -> dict[str, str]:
    """Versions by name, as the locks spell it."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def find_lock_problems(root: Path) -> Iterator[str]:
    """Where the locks lack a hash, or say other versions than the constraints, or miss one."""
    versions = read_constraints(root / "constraints.txt")
    for name in LOCKS:
        lock = read_lock(root / "requirements" / f"{name}.txt")
        for package, (version, hashes) in lock.items():
            if not hashes:
                yield f"requirements/{name}.txt: {package} has no hash. Run: make locks"
            if versions.get(package, version) != version:
                yield f"requirements/{name}.txt: {package} {version} is not {versions[package]}"
        if name == "dev" and (absent := versions.keys() - lock.keys()):
            yield f"requirements/dev.txt lacks {', '.join(sorted(absent))}. Run: make locks"


def build() -> tuple[Path, Path]:
    """The wheel and the source archive, made anew by the pinned backend of this environment."""
    for old in DIST.glob("crossview-*"):
        old.unlink()
    _run([sys.executable, "-m", "hatchling", "build", "-d", str(DIST)])
    (wheel,), (source,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, source


def find_wheel_problems(wheel: Path) -> Iterator[str]:
    """What the wheel lacks, or holds and should not, and facts that an index would refuse."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        facts = Parser().parsestr(archive.read(metadata).decode("utf-8"))
    for name in _IN_THE_WHEEL:
        if name not in names:
            yield f"{wheel.name} lacks {name}"
    for name in names:
        if not name.startswith(("crossview/", "crossview-")) or "__pycache__" in name:
            yield f"{wheel.name} holds {name}"
    licences = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    if not {"LICENSE", "NOTICE"} <= licences:
        yield f"{wheel.name} holds the licences {sorted(licences)} only"
    for name in ("Name", "Version", "Summary", "License-Expression", "Requires-Python"):
        if not facts[name]:
            yield f"{wheel.name} does not say its {name}"
    if facts["Description-Content-Type"] != "text/markdown" or not facts.get_payload():
        yield f"{wheel.name} has no description in Markdown"


def find_source_problems(source: Path, wheel: Path) -> Iterator[str]:
    """What of the package is in the wheel and not in the source archive."""
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as held:
        modules = [name for name in held.namelist() if name.startswith("crossview/")]
    absent = [name for name in modules if f"src/{name}" not in names]
    for name in (
        *absent[:5],
        *({"constraints.txt", "Makefile", "tests"} - names - _folders(names)),
    ):
        yield f"{source.name} lacks {name}"


def _folders(names: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in names}


def install(wheel: Path) -> Path:
    """The interpreter of a fresh environment with the wheel and what the lock names, by hash."""
    venv.create(TRIED, clear=True, with_pip=True)
    python = (
        next(TRIED.glob("bin/python")) if (TRIED / "bin").is_dir() else TRIED / "Scripts/python"
    )
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "-r", str(ROOT / "requirements" / "install.txt")])
    _run([*pip, "--no-deps", str(wheel)])
    _run([str(python), "-m", "pip", "check"])
    _run([str(python), "-m", "crossview", "doctor"])
    return python


def write_bill(python: Path, path: Path) -> None:
    """The software bill of materials: every package of an environment, and the vendored ones."""
    _run(
        [sys.executable, "-m", "cyclonedx_py", "environment", str(python), "--output-reproducible",
         "--of", "JSON", "--pyproject", str(ROOT / "pyproject.toml"), "-o", str(path)]
    )  # fmt: skip
    bill: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    vendored = ROOT / "src" / "crossview" / "web" / "vendor" / "vendor.json"
    for name, facts in json.loads(vendored.read_text(encoding="utf-8")).items():
        bill["components"].append(
            {
                "type": "library",
                "bom-ref": f"{name}@{facts['version']}",
                "name": name,
                "version": facts["version"],
                "purl": f"pkg:npm/{name}@{facts['version']}",
                "licenses": [{"license": {"id": facts["licence"]}}],
            }
        )
    path.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


def _run(command: list[str]) -> None:
    done = subprocess.run(  # noqa: S603 - this interpreter and that of the fresh environment
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    raise SystemExit(main())
