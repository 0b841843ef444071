"""Build what would be released, and look at it as a stranger would. Run by ``make release-check``.

The wheel and the source archive are built twice, once from this folder and once from the unpacked
source archive, and must be the same bytes. Their contents, facts, sizes and licences are looked at.
The wheel is installed into a fresh environment with nothing but files whose sha256 stands in
``requirements/install.txt``, and the demo runs there, away from this folder; then what
``requirements/serve.txt`` adds, and a photo is sent to the service. Two bills of materials
(CycloneDX), of both environments and of the browser libraries that the wheel carries, are written
beside them into ``dist``.

    --demo token    the demo on a town of 6 hectares; --demo none: no demo and no service
    --publish       also what matters only to others: addresses, links of the description, a tag
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIST, TRIED = ROOT / "dist", ROOT / "build" / "release-check"
TOOLS = Path(sys.executable).parent
LOCKS = ("install", "serve", "train", "dev", "release", "docs")
_PINNED = re.compile(
    r"^([\w.-]+)==([^\s;]+)[^\n]*\n((?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n)*)", re.M
)

MOST_MB = {".whl": 20.0, ".gz": 25.0, "installed": 700.0}
"""Of the wheel, the source archive, and all that a practitioner's environment takes on the disk.
Nearly all of the first two are the packaged models; the indexes of packages take 100 MB a file."""

# Written in two halves, so that no file of ours finds itself.
MACHINE_PATHS = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "C:" + "\\Users", "/t" + "mp/"]

# What a wheel may consist of without a licence of its own, because it was written here.
_OUR_KINDS = {".py", ".typed", ".toml", ".json", ".html", ".css", ".js", ".svg"}
_SOURCE_TOPS = {
    "src", "tests", "benchmarks", "docs", "scripts", "requirements", "containers", "Makefile",
    "constraints.txt", "mkdocs.yml", "CITATION.cff", "LICENSE", "NOTICE", "pyproject.toml",
    "PKG-INFO", ".ci", ".github", ".gitignore", ".dockerignore", ".pre-commit-config.yaml",
}  # fmt: skip

# Licences of others that may be installed together with an Apache-2.0 package and used without
# further duties; MPL-2.0 asks for nothing as long as its own files are not changed.
_FREE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "CC0-1.0", "HPND", "ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0",
    "Unlicense", "Zlib",
}  # fmt: skip
_FREE_WORDS = {  # as the older classifiers say it
    "Apache Software License", "BSD License", "ISC License (ISCL)", "MIT License",
    "Mozilla Public License 2.0 (MPL 2.0)", "Python Software Foundation License",
}  # fmt: skip
# Their metadata names no licence in a form that can be compared; read from their licence files.
_READ_LICENCES = {"cligj": "BSD-3-Clause", "protobuf": "BSD-3-Clause", "crossview": "Apache-2.0"}

# Files that other programs read, and what knows their form. None of it needs a network.
_LINTS: tuple[tuple[str, ...], ...] = (
    ("validate-pyproject", "pyproject.toml"),
    ("check-jsonschema", "--builtin-schema", "vendor.citation-file-format", "CITATION.cff"),
    ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/*.yml"),
    ("check-jsonschema", "--builtin-schema", "vendor.github-issue-config",
     ".github/ISSUE_TEMPLATE/config.yml"),
    ("check-jsonschema", "--builtin-schema", "vendor.github-issue-forms",
     ".github/ISSUE_TEMPLATE/[!c]*.yml"),
    ("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"),
    ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "containers/compose.yaml"),
    ("zizmor", "--offline", "--quiet", ".github"),
    ("pre-commit", "validate-config", ".pre-commit-config.yaml"),
    ("hadolint", "containers/*.Containerfile"),
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """0 if it can be released; else what is wrong stands on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--demo", choices=("whole", "token", "none"), default="whole")
    parser.add_argument("--publish", action="store_true")
    wanted = parser.parse_args(arguments)
    started = time.monotonic()
    problems: list[str] = []
    with _timed("locks"):
        problems += find_lock_problems(ROOT)
    with _timed("files that other programs read"):
        problems += lint_files(ROOT)
    with _timed("wheel and source archive"):
        wheel, source = build(ROOT, DIST)
    with _timed("both again from the source archive"):
        problems += find_rebuild_problems(wheel, source)
    with _timed("contents, facts, licences"):
        problems += _look_at(wheel, source)
    problems += _try_out(wheel, wanted.demo)
    doubts = [*find_publishing_problems(wheel)]
    for doubt in () if wanted.publish else doubts:
        print(f"Before it is published: {doubt}")
    problems += doubts if wanted.publish else []
    for path in (wheel, source):
        size_mb = path.stat().st_size / 1e6
        print(f"{_hash(path.read_bytes())}  {path.relative_to(ROOT)}  {size_mb:.2f} MB")
    for problem in problems:
        print(problem, file=sys.stderr)
    wrong = f"{len(problems)} problems" if problems else "It can be released"
    print(f"{wrong}; {time.monotonic() - started:.0f} s.")
    return 1 if problems else 0


def _look_at(wheel: Path, source: Path) -> Iterator[str]:
    yield from find_wheel_problems(wheel)
    yield from find_fact_problems(wheel)
    yield from find_carried_problems(wheel)
    yield from find_source_problems(source, wheel)
    for path in (wheel, source):
        yield from find_machine_paths(path)
        if path.stat().st_size > MOST_MB[path.suffix] * 1e6:
            yield f"{path.name} has more than {MOST_MB[path.suffix]:g} MB"
    yield from _explain(["twine", "check", "--strict", str(wheel), str(source)])
    yield from _explain(["check-wheel-contents", "--package", "src/crossview", str(wheel)])


def _try_out(wheel: Path, demo: str) -> Iterator[str]:
    with _timed("a fresh environment, by hashes"):
        python = install(wheel)
        yield from find_entry_problems(wheel, python)
    with _timed("bill of materials"):
        yield from find_licence_problems(write_bill(python, DIST / "crossview.cdx.json"))
    taken_mb = sum(p.stat().st_size for p in TRIED.rglob("*") if p.is_file()) / 1e6
    print(f"  installed: {taken_mb:.0f} MB")
    if taken_mb > MOST_MB["installed"]:
        yield f"A practitioner's environment takes {taken_mb:.0f} MB"
    if demo == "none":
        return
    with tempfile.TemporaryDirectory() as away:
        with _timed(f"the demo ({demo})"):
            print(run_demo(python, Path(away), whole=demo == "whole"))
        with _timed("what the service needs besides, by hashes"):
            _install(python, "--require-hashes", "-r", str(ROOT / "requirements" / "serve.txt"))
            bill = write_bill(python, DIST / "crossview-serve.cdx.json")
            yield from find_licence_problems(bill)
        with _timed("a photo sent to the service"):
            yield from try_service(python, Path(away))


# -- locks and files --


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


def lint_files(root: Path) -> Iterator[str]:
    """What linters and schemas say of workflows, forms, containers, and the project's own facts."""
    for tool, *words in _LINTS:
        *options, pattern = words
        files = sorted(str(path.relative_to(root)) for path in root.glob(pattern))
        if not files:
            yield f"There is no {pattern}"
        else:
            yield from _explain([tool, *options, *files], root)


# -- the archives --


def build(folder: Path, out: Path, **environment: str) -> tuple[Path, Path]:
    """The wheel and the source archive of a folder, by the pinned backend of this environment."""
    for old in out.glob("crossview-*"):
        old.unlink()
    _run([sys.executable, "-m", "hatchling", "build", "-d", str(out)], folder, environment)
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, source


def find_rebuild_problems(wheel: Path, source: Path) -> Iterator[str]:
    """Whether the source archive makes the same two archives, elsewhere, at another hour.

    Times inside come from SOURCE_DATE_EPOCH, or else from the backend, never from the clock.
    """
    with tempfile.TemporaryDirectory() as away:
        with tarfile.open(source) as archive:
            archive.extractall(away, filter="data")
        (folder,) = Path(away).iterdir()
        for path in folder.rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        again = build(folder, Path(away) / "again", TZ="Asia/Kathmandu", LC_ALL="C")
        for first, second in zip((wheel, source), again, strict=True):
            if _hash(first.read_bytes()) != _hash(second.read_bytes()):
                yield f"{first.name} is another when it is built from {source.name}"


def find_wheel_problems(wheel: Path) -> Iterator[str]:
    """What the wheel lacks, or holds and should not."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    inside = {name for name in names if name.startswith("crossview/")}
    for name in sorted(names - inside):
        if ".dist-info/" not in name:
            yield f"{wheel.name} holds {name}"
    for name in ("crossview/__init__.py", "crossview/py.typed"):
        if name not in names:
            yield f"{wheel.name} lacks {name}"
    licences = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    if not {"LICENSE", "NOTICE"} <= licences:
        yield f"{wheel.name} holds the licences {sorted(licences)} only"
    if kept := list_kept(ROOT):
        ours = {name.removeprefix("src/") for name in kept if name.startswith("src/crossview/")}
        for name in sorted(inside - ours)[:5]:
            yield f"{wheel.name} holds {name}, which git does not keep"
        for name in sorted(ours - inside)[:5]:
            yield f"{wheel.name} lacks {name}, which git keeps"


def list_kept(root: Path) -> set[str]:
    """What git keeps below a folder; nothing where there is no git, as in a source archive."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    )
    return set(done.stdout.split("\0")) - {""} if (root / ".git").exists() else set()


def read_facts(wheel: Path) -> Message:
    """The metadata of a wheel, as an index reads them; the payload is the description."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode("utf-8"))


def find_fact_problems(wheel: Path) -> Iterator[str]:
    """Facts that people look for and the metadata do not say, or say wrongly."""
    facts = read_facts(wheel)
    for name in ("Name", "Version", "Summary", "License-Expression", "Requires-Python", "Keywords"):
        if not facts[name]:
            yield f"{wheel.name} does not say its {name}"
    if facts["Description-Content-Type"] != "text/markdown" or not facts.get_payload():
        yield f"{wheel.name} has no description in Markdown"
    if not {"LICENSE", "NOTICE"} <= set(facts.get_all("License-File", [])):
        yield f"{wheel.name} does not name its licence files"
    known = facts.get_all("Classifier", [])
    version = str(facts["Requires-Python"]).removeprefix(">=")
    if (
        f"Programming Language :: Python :: {version}" not in known
        or "Typing :: Typed" not in known
    ):
        yield f"{wheel.name} says Python {version}, and its classifiers do not"


def find_publishing_problems(wheel: Path) -> Iterator[str]:
    """What nobody but readers of an index would miss: the project's home, and links that work."""
    facts = read_facts(wheel)
    if not facts.get_all("Project-URL"):
        yield "pyproject.toml has no [project.urls]: say where sources, issues and documents are"
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)\s]+)", str(facts.get_payload()))
    if links:
        yield (
            f"README.md has {len(links)} relative links ({links[0]} is one), which lead nowhere on "
            "the page of an index: write them with the address of the sources"
        )
    tag = f"v{facts['Version']}"
    tags = _ask(["git", "tag", "--points-at", "HEAD"]).split()
    if tag not in tags:
        yield f"the commit has no tag {tag}: make release VERSION={facts['Version']}"


def find_carried_problems(wheel: Path) -> Iterator[str]:
    """Whatever in the wheel was not written here must say its licence, and be what it says it is.

    Browser libraries stand in ``vendor.json`` with licence and sha256; models say licence and
    whose pictures they were trained on, and NOTICE repeats it; NOTICE names every other file of
    data. There are no fonts, pictures or textures: a kind of file that is new here is a question.
    """
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    (notice,) = (data for name, data in held.items() if name.endswith("/licenses/NOTICE"))
    said = " ".join(notice.decode("utf-8").split())
    vendored = "crossview/web/vendor/"
    allowed = {f"{vendored}vendor.json"}
    for name, library in json.loads(held[f"{vendored}vendor.json"]).items():
        if library["licence"] not in _FREE or f"{name}.LICENSE" not in library["sha256"]:
            yield f"{name}: {library['licence']} is not allowed, or its text is not there"
        for file, digest in library["sha256"].items():
            allowed.add(f"{vendored}{file}")
            if _hash(held.get(f"{vendored}{file}", b"")) != digest:
                yield f"{wheel.name}: {vendored}{file} is not what vendor.json says"
    for name in [n for n in held if re.fullmatch(r"crossview/packaged_models/\w+/model\.json", n)]:
        folder, facts = PurePosixPath(name).parent, json.loads(held[name])
        allowed |= {other for other in held if other.startswith(f"{folder}/")}
        missing = [a for a in facts.get("attributions", []) if " ".join(a.split()) not in said]
        if not facts.get("licence") or f"`{folder.name}`" not in said or missing:
            yield f"NOTICE does not say of the model {folder.name}: {missing or 'what it is'}"
    for name in sorted(held.keys() - allowed):
        path = PurePosixPath(name)
        if ".dist-info/" in name or (path.suffix in _OUR_KINDS and vendored not in name):
            continue
        if f"`{path.name}`" not in said:
            yield f"{wheel.name}: nothing says whose {name} is. NOTICE must name it"


def find_source_problems(source: Path, wheel: Path) -> Iterator[str]:
    """What of the package is in the wheel and not in the source archive, and what should not be."""
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()} - {""}
    with zipfile.ZipFile(wheel) as held:
        modules = [name for name in held.namelist() if name.startswith("crossview/")]
    absent = [name for name in modules if f"src/{name}" not in names]
    tops = {name.partition("/")[0] for name in names}
    for name in (*absent[:5], *({"constraints.txt", "Makefile", "tests", "NOTICE"} - tops)):
        yield f"{source.name} lacks {name}"
    for name in sorted(tops - _SOURCE_TOPS):
        if not name.endswith(".md"):
            yield f"{source.name} holds {name}"
    kept = list_kept(ROOT)
    for name in sorted(names - kept - {"PKG-INFO"})[:5] if kept else ():
        yield f"{source.name} holds {name}, which git does not keep"


def find_machine_paths(path: Path) -> Iterator[str]:
    """Files of an archive that name a folder of the machine on which something was made."""
    for name, data in read_archive(path).items():
        for word in MACHINE_PATHS:
            if word.encode() in data:
                yield f"{path.name}: {name} names a path of one machine ({word})"


def read_archive(path: Path) -> dict[str, bytes]:
    """All files of a wheel or of a source archive."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(path) as archive:
        files = ((entry.name, archive.extractfile(entry)) for entry in archive.getmembers())
        return {name: stream.read() for name, stream in files if stream is not None}


# -- a stranger's environment --


def install(wheel: Path) -> Path:
    """The interpreter of a fresh environment with the wheel and what the lock names, by hash."""
    venv.create(TRIED, clear=True, with_pip=True)
    python = TRIED / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    _install(python, "--require-hashes", "-r", str(ROOT / "requirements" / "install.txt"))
    _install(python, "--no-deps", str(wheel))
    _run([str(python), "-m", "pip", "check"])
    return python


def _install(python: Path, *words: str) -> None:
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words])


def find_entry_problems(wheel: Path, python: Path) -> Iterator[str]:
    """Whether the command is there and what it says; that torch is not; that types are."""
    command, version = python.with_name("crossview"), read_facts(wheel)["Version"]
    said = _run([str(command), "--version"], TRIED).partition("\n")[0]
    if said != f"crossview {version}":
        yield f"crossview --version says {said!r}, and the wheel is {version}"
    _run([str(command), "doctor"], TRIED)
    words = "import importlib.util as u, crossview as c; print(c.__file__, u.find_spec('torch'))"
    file, torch = _run([str(python), "-c", words], TRIED).split()
    if torch != "None" or not Path(file).with_name("py.typed").is_file():
        yield f"{file} was imported: py.typed is absent, or torch is there ({torch})"


_SMALL_DEMO = """
from pathlib import Path
from crossview.demo import DemoSettings, run_demo
run_demo(DemoSettings(side_m=240.0, stride_m=30.0, pictures=6, extras=1), Path("demo-out"))
"""


def run_demo(python: Path, folder: Path, *, whole: bool) -> str:
    """The figures of the demo, run elsewhere; not ``whole``: nothing is said of a small town."""
    command = [str(python.with_name("crossview")), "demo", "--quiet"]
    said = _run(command if whole else [str(python), "-c", _SMALL_DEMO], folder)
    for name in ("map.html", "summary.json"):
        if not (folder / "demo-out" / name).is_file():
            raise SystemExit(f"The demo wrote no {name}.")
    return "\n".join(f"  {line}" for line in said.splitlines() if "%" in line or "R@1" in line)


def try_service(python: Path, folder: Path) -> Iterator[str]:
    """Serve the demo's index and send it one of its photos, as a client would."""
    words = ["serve", "--index", "demo-out/model.cvx", "--port", "0"]
    photo = next((folder / "demo-out" / "town" / "ground").glob("*.jpg"))
    with subprocess.Popen(
        [str(python.with_name("crossview")), *words], cwd=folder, stderr=subprocess.PIPE, text=True,
        env=_environment({}),
    ) as server:  # fmt: skip
        try:
            said = "".join(_read_until(server, "http://"))
            address = re.findall(r"http://\S+/", said)
            if not address:
                yield f"crossview serve ended: {said}"
                return
            sent = urllib.request.Request(  # noqa: S310 - our own server
                f"{address[0]}v1/locate?places=3",
                photo.read_bytes(),
                {"Content-Type": "image/jpeg"},
            )
            with urllib.request.urlopen(sent, timeout=60) as answer:  # noqa: S310
                places = json.load(answer)["answers"][0]["places"]
            if len(places) != 3:
                yield f"The service gave {len(places)} places of 3"
        finally:
            server.terminate()
            server.communicate(timeout=90)


def _read_until(server: subprocess.Popen[str], word: str) -> Iterator[str]:
    for line in server.stderr or ():
        yield line
        if word in line:
            return


def write_bill(python: Path, path: Path) -> dict[str, Any]:
    """The software bill of materials: every package of an environment, and the vendored ones."""
    _run(
        [sys.executable, "-m", "cyclonedx_py", "environment", str(python), "--output-reproducible",
         "--of", "JSON", "--pyproject", str(ROOT / "pyproject.toml"), "-o", str(path)]
    )  # fmt: skip
    bill: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for part in bill["components"]:
        if licence := _READ_LICENCES.get(part["name"].lower()):
            part["licenses"] = [{"license": {"id": licence}}]
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
    return bill


def find_licence_problems(bill: Mapping[str, Any]) -> Iterator[str]:
    """Packages whose licence is unknown, or asks for more than free software may be asked for."""
    for part in bill["components"]:
        said = [
            entry.get("expression") or entry["license"].get("id") or entry["license"].get("name")
            for entry in part.get("licenses", [])
        ]
        if not any(is_free(licence) for licence in said):
            yield f"{part['name']} {part.get('version', '')}: its licence is {said or 'unknown'}"


def is_free(licence: str) -> bool:
    """Whether an SPDX expression, or the words of a classifier, can be met by everyone.

    Of parts that are joined by AND each must be free, by OR one. Parentheses are not understood,
    and so are refused.
    """
    if licence.startswith("License ::"):
        return licence.rpartition(" :: ")[2] in _FREE_WORDS
    if "(" in licence:
        return False
    return any(
        all(part.strip() in _FREE for part in either.split(" AND "))
        for either in licence.split(" OR ")
    )


# -- running --


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:6.1f} s  {what}", flush=True)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _explain(command: list[str], folder: Path = ROOT) -> Iterator[str]:
    """What a tool of this environment says, if it is not content."""
    done = subprocess.run(
        [str(TOOLS / command[0]), *command[1:]], cwd=folder, capture_output=True, text=True,
        check=False, env=_environment({"NO_COLOR": "1"}),
    )  # fmt: skip
    if done.returncode:
        yield f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}".strip()


def _run(
    command: list[str], folder: Path = ROOT, environment: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False,
        env=_environment(environment or {}),
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _ask(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """Of this process, without what would let the sources in this folder be found instead."""
    kept = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    return {**kept, **added}


if __name__ == "__main__":
    raise SystemExit(main())
