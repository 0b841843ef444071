"""``crossview doctor``: what is installed, what is missing or mismatched, what can compute here."""

from __future__ import annotations

import importlib
import json
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Annotated, Any

import typer

from crossview._version import __version__
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
    """Everything ``crossview doctor`` prints; ``problems`` are those that stop something."""

    versions: dict[str, str]
    packages: tuple[Package, ...]
    devices: dict[str, str]
    models: tuple[dict[str, str], ...]  # that came with the package
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print versions and devices, and what is missing or mismatched (then exit code 1)."""
    health = examine_installation()
    if as_json:
        console.print_result(json.dumps(health.to_json(), indent=2))
    else:
        console.print_result("\n".join(_format_health(health)))
    if health.problems:
        raise typer.Exit(1)


def _format_health(health: Health) -> Iterator[str]:
    for name, version in health.versions.items():
        yield f"{name:24} {version}"
    for group in dict.fromkeys(p.group for p in health.packages):
        yield f"\n{group}"
        for package in (p for p in health.packages if p.group == group):
            yield f"  {package.name:22} {package.version or '-':12} >= {package.least}"
        if any(p.group == group and p.version is None for p in health.packages):
            install = "crossview" if group == "required" else f"'crossview[{group}]'"
            yield f"  not complete; to complete it: pip install {install}"
    yield "\ndevices"
    for name, text in health.devices.items():
        yield f"  {name:22} {text}"
    yield "\npackaged models"
    for model in health.models:
        yield from (f"  {name:22} {text}" for name, text in model.items())
    yield ""
    yield from (f"Problem: {problem}" for problem in health.problems)
    if not health.problems:
        yield "Everything that is installed works together."


def examine_installation() -> Health:
    """Import every dependency that is installed, look for devices and for the packaged models."""
    packages = tuple(_examine_package(p) for p in _list_requirements())
    models = tuple(_find_models())
    problems = [p.problem for p in packages if p.problem]
    problems += [model["problem"] for model in models if "problem" in model]
    versions = {
        "crossview": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    return Health(versions, packages, _list_devices(), models, tuple(problems))


def _list_requirements() -> Iterator[Package]:
    """What the installed package's own metadata asks for, without the tools of its builders."""
    for line in metadata.requires("crossview") or []:
        if (match := _REQUIREMENT.match(line)) and match["extra"] != "dev":
            yield Package(match["name"], match["extra"] or REQUIRED, match["least"] or "0")


def _examine_package(package: Package) -> Package:
    name, group, least = package.name, package.group, package.least
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        missing = f"{name} is not installed. Try: pip install {name}"
        return Package(name, group, least, None, missing if group == REQUIRED else None)
    if _read_version(version) < _read_version(least):
        too_old = f"{name} {version} is too old: {least} or newer is needed."
        return Package(name, group, least, version, too_old)
    return Package(name, group, least, version, _try_import(name, version))


def _try_import(name: str, version: str) -> str | None:
    try:
        importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except Exception as problem:  # a package may fail in any way of its own
        reason = (str(problem).splitlines() or [""])[0][:160]
        if name == "torchvision":
            return (
                f"torchvision {version} does not work with torch {_find_version('torch')} "
                f"({reason}). Install versions that match: "
                "pip install --force-reinstall torch torchvision"
            )
        return f"{name} {version} is installed and cannot be imported: {reason}"
    return None


def _find_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _read_version(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.partition("+")[0])[:3])


def _list_devices() -> dict[str, str]:
    from crossview.worlds.town_pairs import count_cores

    devices = {"cpu": f"{count_cores()} threads, {platform.machine()}"}
    if runtime := sys.modules.get("onnxruntime"):
        devices["onnxruntime"] = ", ".join(runtime.get_available_providers())
    if torch := sys.modules.get("torch"):
        devices["bfloat16 on the cpu"] = "yes" if _has_bfloat16(torch) else "no"
        devices["cuda"] = _describe_cuda(torch)
    return devices


def _has_bfloat16(torch: Any) -> bool:
    try:
        features = torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):
        return False
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))


def _describe_cuda(torch: Any) -> str:
    try:
        if not torch.cuda.is_available():
            return "none found"
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except (AttributeError, RuntimeError) as problem:
        return f"cannot be used: {str(problem).splitlines()[0]}"
    return ", ".join(cards)


def _find_models() -> Iterator[dict[str, str]]:
    """The model of the demo, which must be there, and every other that came with the package."""
    try:
        from crossview.model import OF_TOWNS, list_packaged_models
    except ImportError as problem:
        yield {"name": "-", "problem": f"The packaged models cannot be opened: {problem}"}
        return
    for name in dict.fromkeys((OF_TOWNS, *list_packaged_models())):
        yield _describe_model(name)


def _describe_model(name: str) -> dict[str, str]:
    try:
        from crossview.model import compute_fingerprint, read_info, resolve_model

        folder = resolve_model(name)
        return {
            "name": name,
            "trained on": read_info(folder).training_data,
            "folder": str(folder),
            "fingerprint": compute_fingerprint(folder),
        }
    except (CrossviewError, ImportError, OSError) as problem:
        reason = str(problem).splitlines()[0]
        return {"name": name, "problem": f"The packaged model {name!r} cannot be used: {reason}"}
