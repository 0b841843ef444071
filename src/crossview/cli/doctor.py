"""``crossview doctor``: what is installed, what is missing or mismatched, what can compute here."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Annotated, Any

import typer

from crossview import __version__
from crossview.cli import console
from crossview.errors import CrossviewError

MODULES = {"pillow": "PIL", "opencv-python-headless": "cv2", "pillow-heif": "pillow_heif"}
REQUIRED = "required"
_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)[^>;]*(>=(?P<least>[\d.]+))?[^;]*(;.*extra\s*==\s*['\"](?P<extra>\w+))?"
)


@dataclass(frozen=True)
class Package:
    """A package that crossview uses: version here, least version wanted, and what is wrong."""

    name: str
    group: str  # "required", or the extra that brings it
    least: str
    version: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Health:
    """Everything ``crossview doctor`` tells; ``problems`` are those that stop something."""

    versions: dict[str, str]
    packages: tuple[Package, ...]
    devices: dict[str, str]
    model: dict[str, str]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell versions, devices, and what is missing or mismatched; exit code 1 if something is."""
    health = examine()
    if as_json:
        console.result(json.dumps(health.to_json(), indent=2))
    else:
        console.result("\n".join(_lines(health)))
    if health.problems:
        raise typer.Exit(1)


def _lines(health: Health) -> Iterator[str]:
    for name, version in health.versions.items():
        yield f"{name:24} {version}"
    for group in dict.fromkeys(p.group for p in health.packages):
        yield f"\n{group}"
        for package in (p for p in health.packages if p.group == group):
            yield f"  {package.name:22} {package.version or '-':12} >= {package.least}"
        if any(p.group == group and p.version is None for p in health.packages):
            install = "crossview" if group == "required" else f"'crossview[{group}]'"
            yield f"  not complete; to have it: pip install {install}"
    yield "\ndevices"
    for name, told in health.devices.items():
        yield f"  {name:22} {told}"
    yield "\npackaged model"
    for name, told in health.model.items():
        yield f"  {name:22} {told}"
    yield ""
    yield from (f"Problem: {problem}" for problem in health.problems)
    if not health.problems:
        yield "Everything that is installed works together."


def examine() -> Health:
    """Import every dependency that is installed, look for devices and for the packaged model."""
    packages = tuple(_examined(p) for p in _wanted())
    model = _model()
    problems = [p.problem for p in packages if p.problem]
    if "problem" in model:
        problems.append(model["problem"])
    versions = {
        "crossview": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    return Health(versions, packages, _devices(), model, tuple(problems))


def _wanted() -> Iterator[Package]:
    """What the installed package's own metadata asks for, without the tools of its builders."""
    for line in metadata.requires("crossview") or []:
        if (found := _REQUIREMENT.match(line)) and found["extra"] != "dev":
            yield Package(found["name"], found["extra"] or REQUIRED, found["least"] or "0")


def _examined(package: Package) -> Package:
    name, group, least = package.name, package.group, package.least
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        missing = f"{name} is not installed. Try: pip install {name}"
        return Package(name, group, least, None, missing if group == REQUIRED else None)
    if _numbers(version) < _numbers(least):
        too_old = f"{name} {version} is too old: {least} or newer is needed."
        return Package(name, group, least, version, too_old)
    return Package(name, group, least, version, _import_problem(name, version))


def _import_problem(name: str, version: str) -> str | None:
    try:
        importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except Exception as problem:  # a package may fail in any way of its own
        said = (str(problem).splitlines() or [""])[0][:160]
        if name == "torchvision":
            return (
                f"torchvision {version} does not work with torch {_version('torch')} ({said}). "
                "Install a matched pair: pip install --force-reinstall torch torchvision"
            )
        return f"{name} {version} is installed and cannot be imported: {said}"
    return None


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.partition("+")[0])[:3])


def _devices() -> dict[str, str]:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    found = {"cpu": f"{threads} threads, {platform.machine()}"}
    if runtime := sys.modules.get("onnxruntime"):
        found["onnxruntime"] = ", ".join(runtime.get_available_providers())
    if torch := sys.modules.get("torch"):
        found["bfloat16 on the cpu"] = "yes" if _has_bfloat16(torch) else "no"
        found["cuda"] = _cuda(torch)
    return found


def _has_bfloat16(torch: Any) -> bool:
    try:
        able = torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):
        return False
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def _cuda(torch: Any) -> str:
    try:
        if not torch.cuda.is_available():
            return "none found"
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except (AttributeError, RuntimeError) as problem:
        return f"cannot be used: {str(problem).splitlines()[0]}"
    return ", ".join(cards)


def _model() -> dict[str, str]:
    try:
        from crossview.model.info import fingerprint
        from crossview.model.onnx import resolve_model

        folder = resolve_model("town")
        return {"name": "town", "folder": str(folder), "fingerprint": fingerprint(folder)}
    except (CrossviewError, ImportError, OSError) as problem:
        said = str(problem).splitlines()[0]
        return {"name": "town", "problem": f"The packaged model 'town' cannot be used: {said}"}
