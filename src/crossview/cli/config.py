"""Defaults of options from files and the environment; ``crossview config`` shows them.

What is typed counts most, then the environment (``CROSSVIEW_LOCATE_FOV``), the file of the working
folder (``crossview.toml``), the user's own file, and last what is built in.

Whoever made a folder may have put a file there. So it may set only what :data:`OF_A_FOLDER` lists:
nothing that writes, runs code, opens a door or makes crossview accept what it would refuse.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from crossview.cli import console
from crossview.cli.log import conceal_secrets
from crossview.errors import BadData, InvalidValue, UnknownName
from crossview.schema import read_bytes

FOLDER_FILE = "crossview.toml"
VARIABLE = "CROSSVIEW_CONFIG"  # a file that is read instead of both
PREFIX = "CROSSVIEW"  # of variables that set options
NOT_OPTIONS = {
    VARIABLE, "CROSSVIEW_CACHE", "CROSSVIEW_DEBUG", "CROSSVIEW_SHARED", "CROSSVIEW_NEEDS_CHROMIUM",
}  # fmt: skip
FOR_ALL = ("device", "log", "quiet", "threads", "verbose", "workers")  # before the first table
_NEVER = ("help", "version")
_IMAGERY = ("attribution", "bands", "crs", "date", "nodata", "stretch")
_SEARCH = ("fov", "heading", "heading-sigma", "horizon-px", "ignore-direction", "near", "within")
_SCHEDULE = ("batch", "epochs", "lr", "save-every", "seed", "steps", "val-share", "validate-every")
OF_A_FOLDER: dict[str, tuple[str, ...]] = {
    "index": (*_IMAGERY, "footprint", "metres-per-px", "near", "stride", "tms", "width-m",
              "within", "zoom"),
    "locate": (*_SEARCH, "format", "index", "places", "prior", "sigma", "use-gps-as-hint"),
    "calibrate": ("coverage", "ignore-direction"),
    "serve": ("index",),
    "world": ("bands", "crs", "fov", "pitch", "stretch"),
    "adapt": ("attribution", "bands", "crs", "date", "stretch"),
    "region": ("attribution", "bands", "crs", "date", "footprint", "stretch", "stride"),
    "train": _SCHEDULE,
    "evaluate": ("fov", "headings", "radius", "seeds", "split"),
    "report": ("title",),
    "explain": ("sample", "seed", "show", "split"),
}  # fmt: skip
_MOST_BYTES = 1_000_000
_SAYS_NOTHING = {"log", "quiet", "verbose"}  # about results
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}


@dataclass(frozen=True, kw_only=True)
class OptionFile:
    """A file of defaults: its values by table, and whether it is the user's own."""

    path: Path
    is_own: bool
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Default:
    """The default of one option that is not the built-in one, and where it was set."""

    verb: str  # with the inner one, such as "data check"
    option: str  # without its dashes
    value: Any
    origin: str  # the file, or the variable


IN_FORCE: list[Default] = []  # of the verb that runs


def config(
    ctx: typer.Context,
    verb: Annotated[
        str | None, typer.Argument(help="Show every option of this verb, built-in ones too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show which defaults of options are in force, and where each was set.

    Every file and variable is checked as a whole: what is no option, or no value, is an error.
    """
    group: Any = ctx.find_root().command
    verbs = group.list_commands(ctx)
    if verb is not None and verb not in verbs:
        raise UnknownName("command", verb, known=verbs)
    files = read_files()
    check_tables(files, verbs)
    commands = {name: group.get_command(ctx, name) for name in verbs}
    require_known_variables(commands, whole=True)
    chosen = commands if verb is None else {verb: commands[verb]}
    found = {name: find_defaults(name, command, files) for name, command in commands.items()}
    in_force = [default for name in chosen for default in found[name]]
    if as_json:
        shown = [{**asdict(d), "value": _show(d.value)} for d in in_force]
        looked = [{"path": str(path), "there": path.is_file()} for path in _name_files()]
        console.print_result(json.dumps({"files": looked, "defaults": shown}, indent=2))
        return
    for path in _name_files():
        console.print_result(f"{path}: {'read' if path.is_file() else 'not there'}")
    if verb is not None:
        in_force = [*in_force, *_list_built_in(verb, commands[verb], in_force)]
    for default in in_force:
        value = json.dumps(_show(default.value))
        name = f"{default.verb} --{default.option}"
        console.print_result(f"{name:32} {value:24} {default.origin}")
    if not in_force:
        console.print_result("Nothing is set: every default is the built-in one.")


def _show(value: Any) -> Any:
    if isinstance(value, list):
        return [_show(inner) for inner in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return conceal_secrets(value) if isinstance(value, str) else value


def _list_built_in(verb: str, command: Any, known: list[Default]) -> Iterator[Default]:
    set_already = {(default.verb, default.option) for default in known}
    for name, inner in _open_verb(verb, command):
        for option, parameter in _list_options(inner).items():
            if (name, option) not in set_already:
                value = None if callable(parameter.default) else parameter.default
                yield Default(verb=name, option=option, value=value, origin="built in")


def user_file() -> Path:
    """The user's own file, there or not: below ``XDG_CONFIG_HOME``, ``APPDATA`` or ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or (
        os.environ.get("APPDATA") if os.name == "nt" else None
    )
    return Path(base or Path.home() / ".config") / "crossview" / "config.toml"


def _name_files() -> list[Path]:
    if named := os.environ.get(VARIABLE):
        return [Path(named)]
    return [Path(FOLDER_FILE), user_file()]


def read_files() -> list[OptionFile]:
    """The files that are there, first the one that counts most.

    ``CROSSVIEW_CONFIG`` names a file that is read instead of both; :data:`os.devnull` is none.
    Raises :class:`BadData` for one that cannot be read.
    """
    named = os.environ.get(VARIABLE)
    if named == os.devnull:
        return []
    if named and not Path(named).exists():
        raise BadData(f"{named} is not there; the environment variable {VARIABLE} names it.")
    return [
        OptionFile(path=path, is_own=str(path) != FOLDER_FILE, values=_parse(path))
        for path in _name_files()
        if os.path.lexists(path)
    ]


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bytes(path, _MOST_BYTES).decode("utf-8"))
    except RecursionError:
        problem: object = "nested too deeply"
    except OSError as reason:
        problem = reason.strerror
    except ValueError as reason:  # no TOML, no UTF-8, no file, too large
        problem = reason
    raise BadData(
        f"{path} cannot be read as defaults of options: {problem}.\n"
        "It is TOML: a table for each command, such as [locate], with lines such as fov = 65."
    )


def check_tables(files: list[OptionFile], verbs: list[str]) -> None:
    """Refuse what stands at the top of a file and is neither a command nor meant for all."""
    for file in files:
        for name, value in file.values.items():
            if name in FOR_ALL and not isinstance(value, dict):
                if not file.is_own:
                    _refuse(file, name, "all commands")
            elif name not in verbs:
                raise UnknownName(f"name in {file.path}:", name, [*verbs, *FOR_ALL])
            elif not isinstance(value, dict):
                raise InvalidValue(f"{file.path}: {name} is a table. Write [{name}] on its own.")


def find_defaults(verb: str, command: Any, files: list[OptionFile]) -> list[Default]:
    """The defaults of a verb, and of those inside it, that are set somewhere, checked.

    UnknownName and InvalidValue name the file or the variable, and the key.
    """
    return [
        default
        for name, inner in _open_verb(verb, command)
        for default in _find_defaults(name, inner, files)
    ]


def as_default_map(verb: str, command: Any, defaults: Sequence[Default]) -> dict[str, Any]:
    """Defaults as the parser takes them: by the names of parameters, nested as the verbs are."""
    made: dict[str, Any] = {}
    for name, inner in _open_verb(verb, command):
        options = _list_options(inner)
        here = made.setdefault(name.partition(" ")[2], {}) if " " in name else made
        here.update({options[d.option].name: d.value for d in defaults if d.verb == name})
    return made


def tell_folder_defaults(defaults: Sequence[Default]) -> str:
    """A sentence on what the working folder's file has set, or nothing."""
    names = [f"--{default.option}" for default in defaults if default.origin == FOLDER_FILE]
    return f"Set by {FOLDER_FILE} of this folder: {', '.join(names)}." if names else ""


def list_untyped(typed: Sequence[str]) -> list[str]:
    """The words that would have to be typed in place of the defaults of the verb that runs."""
    options = {word.partition("=")[0] for word in typed}
    words = []
    for default in IN_FORCE:
        values = default.value if isinstance(default.value, list) else [default.value]
        if f"--{default.option}" in options or default.option in _SAYS_NOTHING:
            continue
        if isinstance(default.value, bool):
            words += [f"--{'' if default.value else 'no-'}{default.option}"]
        else:
            words += [f"--{default.option}={value}" for value in values]
    return words


def _open_verb(verb: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if not inner:
        yield verb, command
        return
    for name, one in inner.items():
        yield f"{verb} {name}", one


def _list_options(command: Any) -> dict[str, Any]:
    """Parameters by their long options; both sides of a switch are one."""
    options = {}
    for parameter in command.params:
        long = next((o for o in parameter.opts if o.startswith("--")), None)
        if long is not None and long[2:] not in _NEVER:
            options[long[2:]] = parameter
    return options


def _find_defaults(verb: str, command: Any, files: list[OptionFile]) -> Iterator[Default]:
    options = _list_options(command)
    tables = [(file, _find_table(verb, file, options)) for file in files]
    for option, parameter in options.items():
        text, variable = _find_variable(verb, option)
        if text is not None:
            value = _coerce(command, parameter, _split(parameter, text), f"{variable}={text}")
            yield Default(verb=verb, option=option, value=value, origin=variable)
            continue
        for file, table in tables:
            if option in table:
                yield _read_default(verb, command, option, file, table[option])
                break


def _find_variable(verb: str, option: str) -> tuple[str | None, str]:
    """What the environment says of an option; empty is as not set."""
    names = [f"{PREFIX}_{verb}_{option}", *([f"{PREFIX}_{option}"] if option in FOR_ALL else [])]
    for name in (_spell(name) for name in names):
        if text := os.environ.get(name):
            return text, name
    return None, ""


def _spell(name: str) -> str:
    return name.upper().replace("-", "_").replace(" ", "_")


def _find_table(verb: str, file: OptionFile, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a file sets for a verb: its table, and before it what is meant for all."""
    table: Any = file.values
    for step in verb.split(" "):
        table = table.get(step, {})
        if not isinstance(table, dict):
            raise InvalidValue(f"{file.path}: {step} is a table. Write [{verb}] on its own.")
    for name in table:
        if name not in options:
            raise UnknownName(f"key in [{verb.replace(' ', '.')}] of {file.path}:", name, options)
    shared = {n: v for n, v in file.values.items() if n in FOR_ALL and n in options}
    return {**shared, **table}


def _read_default(verb: str, command: Any, option: str, file: OptionFile, value: Any) -> Default:
    parameter = _list_options(command)[option]
    if not file.is_own and option not in OF_A_FOLDER.get(verb, ()):
        _refuse(file, option, verb)
    where = f"{file.path}: [{verb.replace(' ', '.')}] {option} = {value!r}"
    _require_kind(parameter, value, where)
    if parameter.multiple and not isinstance(value, list):
        value = [value]
    values = [os.path.expanduser(v) if isinstance(v, str) and v[:2] == "~/" else v
              for v in (value if isinstance(value, list) else [value])]  # fmt: skip
    coerced = _coerce(command, parameter, values if parameter.multiple else values[0], where)
    if not file.is_own:
        _require_below(coerced, where)
    return Default(verb=verb, option=option, value=coerced, origin=str(file.path))


def _refuse(file: OptionFile, option: str, verb: str) -> None:
    raise InvalidValue(
        f"{file.path} must not set {option} of {verb}: a file that comes with a folder sets\n"
        "nothing that writes, runs code, or accepts what would be refused.\n"
        f"Set it in {user_file()}, or type it."
    )


def _find_kind(parameter: Any) -> type:
    """The kind of one value: bool, int, float, or str for everything else."""
    kind = parameter.type_descriptor.annotation
    if parameter.multiple:
        kind = kind.__args__[0]
    return kind if kind in _KINDS else str


def _require_kind(parameter: Any, value: Any, where: str) -> None:
    kind = _find_kind(parameter)
    several = parameter.multiple and isinstance(value, list)
    for one in value if several else [value]:
        fits = isinstance(one, int | float if kind is float else kind)
        if not fits or (isinstance(one, bool) and kind is not bool):
            more = ", or a list of them" if parameter.multiple else ""
            raise InvalidValue(f"{where} cannot be: it takes {_KINDS[kind]}{more}.")


def _split(parameter: Any, text: str) -> Any:
    """Of an option that may be repeated: its values, separated as PATH is, or by spaces."""
    if not parameter.multiple:
        return text
    paths = parameter.type_descriptor.annotation.__args__[0] is Path
    return [part for part in text.split(os.pathsep if paths else None) if part]


def _coerce(command: Any, parameter: Any, value: Any, where: str) -> Any:
    context = typer.Context(command)
    try:
        coerced = parameter.get_runtime_param().coerce(value, param=parameter, ctx=context)
    except typer.TyperException as problem:
        raise InvalidValue(f"{where} cannot be: {problem.message}") from problem
    return list(coerced) if isinstance(coerced, tuple) else coerced


def _require_below(value: Any, where: str) -> None:
    """Paths of a folder's file lead into that folder."""
    here = Path.cwd().resolve()
    for path in value if isinstance(value, list) else [value]:
        if isinstance(path, Path) and not (here / path).resolve().is_relative_to(here):
            raise InvalidValue(
                f"{where} leads out of this folder.\nSet it in {user_file()}, or type it."
            )


def require_known_variables(commands: Mapping[str, Any], *, whole: bool = False) -> None:
    """Refuse variables that begin as those of these verbs do, and set no option of them.

    ``whole``: ``commands`` are all, so any variable that begins as ours do has to be known.
    """
    known = {_spell(f"{PREFIX}_{option}") for option in FOR_ALL} | NOT_OPTIONS
    for verb, command in commands.items():
        for name, inner in _open_verb(verb, command):
            known |= {_spell(f"{PREFIX}_{name}_{option}") for option in _list_options(inner)}
    ours = [f"{PREFIX}_"] if whole else [_spell(f"{PREFIX}_{verb}_") for verb in commands]
    for name in sorted(os.environ):
        if name.startswith(tuple(ours)) and name not in known:
            raise InvalidValue(
                f"The environment variable {name} sets no option.{_near(name, known)}"
            )


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
