"""What a failure looks like on the command line: a line or three, and an exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from crossview.errors import CrossviewError

EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "safetensors": "train",
    "onnx": "train",
    "onnxscript": "train",
    "tensorboard": "board",
    "pillow_heif": "heif",
    "matplotlib": "report",
    "pyarrow": "data",
    "scipy": "report",
    "fastapi": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "python_multipart": "serve",
}


@dataclass
class Outcome:
    """The exit code of one run of the command line."""

    code: int = 1


@contextmanager
def explained() -> Iterator[Outcome]:
    """Turn whatever is raised inside into a message on stderr and an exit code."""
    outcome = Outcome()
    try:
        yield outcome
        if outcome.code == 130:  # the parser has caught Ctrl-C itself
            typer.echo("Stopped.", err=True)
    except KeyboardInterrupt:
        outcome.code = 130
        typer.echo("Stopped.", err=True)
    except SystemExit as leaving:
        outcome.code = leaving.code if isinstance(leaving.code, int) else 1
    except Exception as problem:  # the outermost frame: nothing above could handle it
        message, outcome.code = _message(problem)
        from crossview.cli.console import shown  # 50 ms that only a failure should pay

        typer.echo(shown(f"Error: {message}"), err=True)
        if os.environ.get("CROSSVIEW_DEBUG") == "1":
            traceback.print_exception(problem)


def _message(problem: Exception) -> tuple[str, int]:
    """What to print for ``problem``, and the exit code."""
    if isinstance(problem, CrossviewError):
        return str(problem), problem.exit_code
    if isinstance(problem, typer.TyperException):
        return _usage_message(problem), problem.exit_code
    if isinstance(problem, ModuleNotFoundError) and (extra := _extra(problem)):
        return (
            f"This needs {problem.name}, which is not installed.\n"
            f"Install it with: pip install 'crossview[{extra}]'",
            1,
        )
    if isinstance(problem, MemoryError):
        return "Out of memory. Use a smaller area, a smaller batch, or fewer workers.", 1
    if isinstance(problem, OSError) and problem.strerror:
        where = f": {os.fsdecode(problem.filename)}" if problem.filename else ""
        return f"{problem.strerror}{where}", 1
    said = (str(problem).splitlines() or [""])[0][:300]
    return (
        f"Unexpected {type(problem).__name__}: {said}\n"
        "This is a fault of crossview. For the traceback, run it again with CROSSVIEW_DEBUG=1.",
        1,
    )


def _usage_message(problem: typer.TyperException) -> str:
    """The parser's sentence, the nearest option if one is near, and where the manual is."""
    near = getattr(problem, "possibilities", None)
    said = f"{problem.message}. Did you mean {' or '.join(near)}?" if near else None
    context = getattr(problem, "ctx", None)
    manual = f"\nSee: {context.command_path} --help" if context else ""
    return (said or problem.format_message()) + manual


def _extra(problem: ModuleNotFoundError) -> str | None:
    return EXTRAS.get((problem.name or "").partition(".")[0])
