"""The command line: one file per verb, imported only when the verb is used or described."""

from __future__ import annotations

import glob
import importlib
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from crossview._version import __version__
from crossview.cli import log
from crossview.errors import CrossviewError, InvalidValue, UnknownName, UsageError

VERBS = (
    "demo",
    "index",
    "worker",
    "locate",
    "track",
    "calibrate",
    "serve",
    "world",
    "pairs",
    "imagery",
    "gather",
    "data",
    "train",
    "adapt",
    "region",
    "evaluate",
    "report",
    "import",
    "export",
    "pull",
    "publish",
    "models",
    "explain",
    "study",
    "cost",
    "doctor",
    "config",
)
_COMPLETING = "_CROSSVIEW_COMPLETE"  # set by shells that ask for completions
_IN_REPORTS = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "rasterio", "torch")
MAY_BE_ADDRESSES = (
    "--base-map", "--base-map-attribution", "--allow-origin", "--attribution", "--licence",
    "--trained-on", "--label", "--name", "--from", "--imagery", "--street", "--on",
)  # fmt: skip
MAY_BE_DATABASES = {"--index", "--out"}  # options that name an index
TAKE_IMAGERY = {"index", "adapt", "pairs"}  # verbs whose words may be addresses of imagery
NEVER_ADDRESSES = (  # options of theirs that name files
    "--out", "--model", "--area", "--heights", "--buildings", "--photos", "--known", "--pairs",
)  # fmt: skip
_DATABASE = re.compile(r"postgres(?:ql)?://")
_ADDRESS = re.compile(r"(/vsi\w+/)*[A-Za-z][A-Za-z0-9+.-]+://")
FILES = {"pull": "models", "publish": "models"}  # verbs that share a file
FUNCTIONS = {"import": "import_"}  # where the verb's own name is a word of the language
_WEB = re.compile(r"(?:\w{3,4}[:+])?https?://", re.IGNORECASE)
EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "safetensors": "train",
    "onnx": "train",
    "onnxscript": "train",
    "tensorboard": "board",
    "ray": "cluster",
    "pillow_heif": "heif",
    "av": "video",
    "matplotlib": "report",
    "pyarrow": "data",
    "scipy": "report",
    "fastapi": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "python_multipart": "serve",
    "prometheus_client": "serve",
    "httpx": "online",
    "owslib": "online",
    "platformdirs": "online",
    "huggingface_hub": "online",
    "openvino": "openvino",
}


class Verbs(TyperGroup):
    """The verbs as a table of names; ``crossview.cli.<verb>`` holds what has that name."""

    def list_commands(self, _ctx: Any) -> list[str]:
        """All verbs, in the order in which a newcomer meets them."""
        return list(VERBS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        """The command behind a verb; a name nobody knows gets the nearest one suggested."""
        if cmd_name not in VERBS:
            if _COMPLETING in os.environ:
                return None
            raise UnknownName("command", cmd_name, known=VERBS)
        name = FUNCTIONS.get(cmd_name, cmd_name)
        module = importlib.import_module(f"crossview.cli.{FILES.get(cmd_name, name)}")
        function = getattr(module, name)
        if _COMPLETING in os.environ:
            from crossview.cli.suggestions import add_suggestions

            add_suggestions(function)
        if not isinstance(function, typer.Typer):  # as a verb with verbs of its own is
            summary = (function.__doc__ or "").partition("\n")[0]
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(name=cmd_name, short_help=summary)(function)
            function = single
        command = typer.main.get_command(function)
        log.add_log_options(command)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that is asked for; its defaults become those that files and variables set."""
        name, command, rest = super().resolve_command(ctx, args)
        if (
            name
            and name != "config"
            and not ctx.resilient_parsing
            and not {"-h", "--help"} & {*rest}
        ):
            self._set_defaults(ctx, name, command, quiet="--quiet" in rest)
        return name, command, rest

    @staticmethod
    def _set_defaults(ctx: Any, name: str, command: Any, *, quiet: bool) -> None:
        from crossview.cli import config, console

        files = config.read_files()
        config.check_tables(files, list(VERBS))
        config.require_known_variables({name: command})
        config.IN_FORCE[:] = config.find_defaults(name, command, files)
        ctx.default_map = {name: config.as_default_map(name, command, config.IN_FORCE)}
        log.remember_untyped({d.option: d.origin for d in config.IN_FORCE})
        if remark := config.tell_folder_defaults(config.IN_FORCE):
            console.note(remark, quiet=quiet)


app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo("\n".join(_list_versions()))
        raise typer.Exit


def _list_versions() -> Iterator[str]:
    """What a report of a fault needs; ``crossview doctor`` tells all."""
    import platform
    from importlib import metadata

    yield f"crossview {__version__}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield f"{python} on {platform.platform()}"
    found = []
    for name in _IN_REPORTS:
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    yield ", ".join(found)


def _show_completion(ctx: typer.Context, param: typer.CallbackParam, shell: str | None) -> None:
    if shell is None:
        return
    from typer.completion import show_callback

    from crossview.cli.suggestions import suggest_shells

    if shell not in suggest_shells():
        raise UnknownName("shell", shell, known=suggest_shells())
    show_callback(ctx, param, shell)  # it ends the process


@app.callback()
def crossview(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    completion: Annotated[
        str | None,
        typer.Option(
            callback=_show_completion,
            is_eager=True,
            metavar="SHELL",
            help="Print what makes bash, zsh or fish complete commands and options.",
        ),
    ] = None,
) -> None:
    """Find where on the map a picture was taken, from imagery seen from above.

    To see it work: crossview demo

    On your own imagery: crossview index, then crossview locate
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 failure, 2 usage, 130 Ctrl-C.

    A user's mistake is one to three lines on stderr, never a traceback (unless the environment
    variable CROSSVIEW_DEBUG is 1).
    """
    _tolerate_any_encoding()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if _COMPLETING in os.environ:
        return _complete()
    command: Any = typer.main.get_command(app)
    begun = time.monotonic()
    with log.attend(words):
        with explain_failures(log.tell_untyped) as code:
            _refuse_addresses(words)
            result = command.main(
                _expand_wildcards(words) or ["--help"],
                prog_name="crossview",
                standalone_mode=False,
                windows_expand_args=False,
            )
            code.value = result if isinstance(result, int) else 0
        log.tell_end(code.value, time.monotonic() - begun)
    return code.value


def _complete() -> int:
    """Answer the shell; whatever goes wrong says nothing, since somebody is typing."""
    from typer.completion import get_completion_inspect_parameters

    from crossview.cli.suggestions import add_suggestions

    get_completion_inspect_parameters()  # it makes the shells known
    add_suggestions(crossview)
    try:
        typer.main.get_command(app).main([], prog_name="crossview")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except Exception:  # such as an extra that a page needs and that is not installed
        return 1
    return 0


def _refuse_addresses(arguments: Sequence[str]) -> None:
    """Refuse the address of a file where a file is meant, while it still is as it was typed.

    As a path ``https://host/a.tif`` would become ``https:/host/a.tif``, and so would every message.
    """
    option = ""
    takes_imagery = bool(TAKE_IMAGERY & {*arguments[:1]})
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("-"):
            option = name
        text = value if argument.startswith("-") and equals else argument
        if takes_imagery and option not in NEVER_ADDRESSES and _WEB.match(text):
            continue
        if _DATABASE.match(text) and option in MAY_BE_DATABASES:
            continue
        if _ADDRESS.match(text) and option not in MAY_BE_ADDRESSES:
            file = f" Its path is {text[7:]}." if text.startswith("file:///") else ""
            raise InvalidValue(
                f"{log.conceal_secrets(text)} is an address. Here a file is meant.{file}\n"
                "Download it first, then give the name of the file."
            )
        if not argument.startswith("-"):
            option = ""


def _tolerate_any_encoding() -> None:
    """A file name or a sign that the terminal cannot show is escaped; it stops nothing.

    Output that goes to a file or another program is UTF-8 on every system.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:
            continue
        if stream.isatty() or "PYTHONIOENCODING" in os.environ:
            reconfigure(errors="backslashreplace")
        else:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def _expand_wildcards(arguments: list[str]) -> list[str]:
    """On Windows, where the shell does not do it: ``*.jpg`` becomes the files that it matches.

    Square brackets are left alone, because there they are ordinary in file names.
    """
    if os.name != "nt":
        return arguments
    matches = (
        sorted(glob.glob(a.replace("[", "[[]"))) if "*" in a or "?" in a else [a] for a in arguments
    )
    return [path for a, paths in zip(arguments, matches, strict=True) for path in paths or [a]]


@dataclass
class ExitCode:
    """The exit code of one run of the command line."""

    value: int = 1


@contextmanager
def explain_failures(remark: Callable[[], str] = str) -> Iterator[ExitCode]:
    """Turn whatever is raised inside into a message on stderr and an exit code.

    ``remark`` gives what is added to the message of a wrong command.
    """
    code = ExitCode()
    try:
        yield code
        if code.value == 130:  # the parser has caught Ctrl-C itself
            typer.echo("Stopped.", err=True)
    except KeyboardInterrupt:
        code.value = 130
        typer.echo("Stopped.", err=True)
    except SystemExit as leaving:
        code.value = leaving.code if isinstance(leaving.code, int) else 1
    except Exception as problem:  # the outermost frame: nothing above could handle it
        message, code.value = _message(problem)
        message += remark() if code.value == UsageError.exit_code else ""
        from crossview.cli.console import replace_controls  # 50 ms that only a failure should pay

        typer.echo(replace_controls(f"Error: {message}"), err=True)
        log.tell_failure(message, problem)
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
    reason = (str(problem).splitlines() or [""])[0][:300]
    return (
        f"Unexpected {type(problem).__name__}: {reason}\n"
        "This is a fault of crossview. For the traceback, run it again with CROSSVIEW_DEBUG=1.",
        1,
    )


def _usage_message(problem: typer.TyperException) -> str:
    """The parser's sentence, the nearest option if one is near, and where the manual is."""
    near = getattr(problem, "possibilities", None)
    suggestion = f"{problem.message}. Did you mean {' or '.join(near)}?" if near else None
    context = getattr(problem, "ctx", None)
    manual = f"\nSee: {context.command_path} --help" if context else ""
    return (suggestion or problem.format_message()) + manual


def _extra(problem: ModuleNotFoundError) -> str | None:
    return EXTRAS.get((problem.name or "").partition(".")[0])
