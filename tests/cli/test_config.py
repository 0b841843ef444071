"""Defaults of options: typed > environment > the folder's file > the user's file > built in."""

from __future__ import annotations

import json
import os
import re
import sys
import types
from pathlib import Path
from typing import Annotated

import pytest
import typer

from crossview import cli
from crossview.cli import config
from crossview.cli.evaluate import command_line


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder, and a user's file that is read."""
    monkeypatch.delenv("CROSSVIEW_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    (tmp_path / "settings" / "crossview").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def locate(monkeypatch):
    """A verb ``locate`` that says what it was told."""
    module = types.ModuleType("crossview.cli.locate")

    def locate(  # noqa: PLR0917 - options
        index: Annotated[Path, typer.Option(help="h")],
        fov: Annotated[float | None, typer.Option(help="h")] = None,
        places: Annotated[int | None, typer.Option(help="h", min=1)] = None,
        near: Annotated[str | None, typer.Option(help="h")] = None,
        ignore_direction: Annotated[bool, typer.Option("--ignore-direction", help="h")] = False,
        label: Annotated[list[str] | None, typer.Option(help="h")] = None,
        threads: Annotated[int, typer.Option(help="h")] = 0,
        quiet: Annotated[bool, typer.Option("--quiet", help="h")] = False,
    ) -> None:
        shown = (str(index), fov, places, near, ignore_direction, label, threads, quiet)
        typer.echo(json.dumps(shown))

    module.locate = locate
    monkeypatch.setitem(sys.modules, "crossview.cli.locate", module)


def write(text: str, path: Path | str = config.FOLDER_FILE) -> None:
    Path(path).write_text(text, encoding="utf-8")


def own(text: str) -> Path:
    write(text, config.user_file())
    return config.user_file()


def told(capsys, *words):
    assert cli.main(["locate", *words]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words, code=2):
    assert cli.main(["locate", *words]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_what_is_typed_counts_most_and_what_is_built_in_least(place, locate, capsys, monkeypatch):
    typed = ["--index", "typed.cvx"]
    assert told(capsys, *typed)[:2] == ["typed.cvx", None]
    own('[locate]\nindex = "own.cvx"\nfov = 10\nplaces = 3\nnear = "1,2"')
    assert told(capsys)[:4] == ["own.cvx", 10.0, 3, "1,2"]
    write('[locate]\nindex = "here.cvx"\nfov = 20\nplaces = 4')
    assert told(capsys)[:4] == ["here.cvx", 20.0, 4, "1,2"]
    monkeypatch.setenv("CROSSVIEW_LOCATE_INDEX", "variable.cvx")
    monkeypatch.setenv("CROSSVIEW_LOCATE_FOV", "30")
    assert told(capsys)[:4] == ["variable.cvx", 30.0, 4, "1,2"]
    assert told(capsys, *typed)[:4] == ["typed.cvx", 30.0, 4, "1,2"]
    monkeypatch.setenv("CROSSVIEW_LOCATE_FOV", "")
    assert told(capsys, *typed)[1] == 20.0, "an empty variable is as none"


def test_one_file_can_be_named_instead_and_none(place, locate, capsys, monkeypatch):
    own("[locate]\nfov = 10")
    write("[locate]\nfov = 20")
    write("[locate]\nplaces = 5", "other.toml")
    monkeypatch.setenv("CROSSVIEW_CONFIG", "other.toml")
    assert told(capsys, "--index", "i")[1:3] == [None, 5]
    monkeypatch.setenv("CROSSVIEW_CONFIG", os.devnull)
    assert told(capsys, "--index", "i")[1:3] == [None, None]
    monkeypatch.setenv("CROSSVIEW_CONFIG", "absent.toml")
    assert "absent.toml is not there" in refused(capsys, code=1)


def test_switches_lists_and_options_of_all_commands(place, locate, capsys, monkeypatch):
    own('threads = 4\nquiet = true\n[locate]\nlabel = ["a", "b"]\nignore-direction = true')
    assert told(capsys, "--index", "i")[4:] == [True, ["a", "b"], 4, True]
    own('[locate]\nlabel = "a b"')
    assert told(capsys, "--index", "i")[5] == ["a b"]
    monkeypatch.setenv("CROSSVIEW_THREADS", "2")
    monkeypatch.setenv("CROSSVIEW_LOCATE_IGNORE_DIRECTION", "true")
    monkeypatch.setenv("CROSSVIEW_LOCATE_LABEL", "x y")
    assert told(capsys, "--index", "i")[4:7] == [True, ["x", "y"], 2]
    assert told(capsys, "--index", "i", "--label", "z")[5] == ["z"]


def test_a_tilde_is_the_home_folder(place, locate, capsys):
    own('[locate]\nindex = "~/maps/a.cvx"')
    assert told(capsys)[0] == str(Path.home() / "maps" / "a.cvx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[locate]\nfvo = 3", "'fvo'. Did you mean 'fov'?"),
        ("[lokate]\nfov = 3", "'lokate'. Did you mean 'locate'?"),
        ("fov = 3", "Unknown name in {file}: 'fov'"),
        ("locate = 3", "locate is a table"),
        ("[locate]\nfov = '3'", "{file}: [locate] fov = '3' cannot be: it takes a number"),
        ("[locate]\nfov = true", "it takes a number"),
        ("[locate]\nplaces = 1.5", "it takes a whole number"),
        ("[locate]\nplaces = 0", "[locate] places = 0 cannot be"),
        ("[locate]\nnear = 3", "it takes a text in quotes"),
        ("[locate]\nignore-direction = 1", "it takes true or false"),
        ("[locate]\nlabel = [1]", "a text in quotes, or a list of them"),
        ("[locate]\nhelp = true", "'help'"),
        ("[locate", "{file} cannot be read as defaults"),
        ("[locate]\nfov = 1\nfov = 2 ", "(at line 3"),
        ("a = " + "[" * 5000, "{file} cannot be read as defaults"),
        ("#" * 1_000_001, "more than 1000000 bytes"),
    ],
)  # fmt: skip
def test_wrong_keys_and_values_are_refused_with_the_file_and_the_key(
    place, locate, capsys, text, message
):
    file = own(text)
    assert cli.main(["locate", "--index", "i"]) in (1, 2)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert str(file) in printed.err
    assert message.format(file=file) in printed.err
    assert len(printed.err.splitlines()) <= 3


def test_wrong_variables_are_refused_by_name(place, locate, capsys, monkeypatch):
    monkeypatch.setenv("CROSSVIEW_LOCATE_FOV", "wide")
    assert "CROSSVIEW_LOCATE_FOV=wide cannot be" in refused(capsys, "--index", "i")
    monkeypatch.delenv("CROSSVIEW_LOCATE_FOV")
    monkeypatch.setenv("CROSSVIEW_LOCATE_FVO", "3")
    assert "Did you mean CROSSVIEW_LOCATE_FOV?" in refused(capsys, "--index", "i")


def test_help_is_given_whatever_the_files_say(place, capsys):
    write("[locate")
    assert cli.main(["locate", "--help"]) == 0
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().err == ""


def test_a_folders_file_says_what_it_has_set(place, locate, capsys):
    write("[locate]\nfov = 20")
    assert cli.main(["locate", "--index", "i"]) == 0
    assert capsys.readouterr().err == "Set by crossview.toml of this folder: --fov.\n"
    assert cli.main(["locate", "--index", "i", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_wrong_command_is_told_what_was_not_typed(place, locate, capsys):
    own("[locate]\nfov = 20")
    assert "Not typed but set: --fov by " in refused(capsys, "--quiet")


# A folder may have come from a stranger.


def harmful() -> list[tuple[str, str]]:
    """Options that write, run code, reach out, or accept what would be refused; of every verb."""
    group = typer.main.get_command(cli.app)
    found = []
    for verb in cli.VERBS:
        command = group.get_command(typer.Context(group), verb)
        inner = getattr(command, "commands", {})
        for name, one in {f"{verb} {k}": v for k, v in inner.items()}.items() or [(verb, command)]:
            found += [(name, o[2:]) for p in one.params for o in p.opts if o.startswith("--")]
    words = (
        "out", "map", "audit", "log", "cache", "figure", "runs", "towns", "method", "config",
        "weights", "model", "keys", "new-key", "host", "port", "allow-host", "allow-origin",
        "allow-vrt", "allow-coarse", "demo-only", "overwrite", "add", "restart", "off-protocol",
        "skip-unreadable", "pretrained", "base-map", "rate", "max-mb", "max-megapixels", "quiet",
        "max-memory-mb", "decode-timeout", "verify", "half", "licence", "trained-on", "watch",
    )  # fmt: skip
    return [(verb, option) for verb, option in found if option in words]


@pytest.mark.parametrize(("verb", "option"), harmful())
def test_a_folders_file_sets_nothing_that_writes_runs_or_opens(verb, option):
    assert option not in config.OF_A_FOLDER.get(verb, ())


def test_the_list_of_a_folders_file_names_real_options():
    group = typer.main.get_command(cli.app)
    for verb, options in config.OF_A_FOLDER.items():
        command = group.get_command(typer.Context(group), verb)
        assert set(options) <= set(config._list_options(command)), verb


def test_the_manual_lists_what_a_folders_file_may_set():
    manual = Path(__file__).parents[2] / "docs" / "shell.md"
    rows = re.findall(r"^\| `(\w+)` \| (`[a-z].*`) \|$", manual.read_text("utf-8"), re.M)
    listed = {verb: re.findall(r"`([\w-]+)`", cell) for verb, cell in rows}
    assert listed == {verb: sorted(options) for verb, options in config.OF_A_FOLDER.items()}


@pytest.mark.parametrize(
    "text",
    ["[locate]\nthreads = 3", "threads = 3", "[locate]\nlabel = 'x'", 'log = "a.txt"',
     '[locate]\nlog = "a.txt"', "verbose = true"],
)  # fmt: skip
def test_what_a_folders_file_must_not_set_is_an_error(place, locate, capsys, text):
    write(text)
    said = refused(capsys, "--index", "i")
    assert "crossview.toml must not set" in said
    assert str(config.user_file()) in said
    assert not (place / "a.txt").exists()


def test_paths_of_a_folders_file_stay_in_that_folder(place, locate, capsys):
    os.symlink(place.parent, place / "link")
    for path in ("../a.cvx", str(place.parent / "a.cvx"), "link/a.cvx", "~/a.cvx"):
        write(f"[locate]\nindex = {json.dumps(path)}")
        assert "leads out of this folder" in refused(capsys)
    write('[locate]\nindex = "below/a.cvx"')
    assert told(capsys)[0] == "below/a.cvx"


def test_a_folders_file_that_is_no_file_does_not_stop_the_reader(place, locate, capsys):
    os.mkfifo(config.FOLDER_FILE)
    assert "not an ordinary file" in refused(capsys, "--index", "i", code=1)


# The verb.


def test_config_shows_each_default_and_where_it_was_set(place, capsys, monkeypatch):
    file = own(
        '[locate]\nfov = 10\n[data.check]\nsample = 3\n[serve]\nbase-map = "https://u:p@h/{z}/{x}/{y}?key=s3cret"'
    )
    write("[locate]\nplaces = 4")
    monkeypatch.setenv("CROSSVIEW_TRAIN_LR", "0.1")
    assert cli.main(["config"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["locate", "--fov", "10.0", str(file)] in lines
    assert ["locate", "--places", "4", "crossview.toml"] in lines
    assert ["data", "check", "--sample", "3", str(file)] in lines
    assert ["train", "--lr", "0.1", "CROSSVIEW_TRAIN_LR"] in lines
    assert not any("s3cret" in word or "u:p" in word for line in lines for word in line)
    assert cli.main(["config", "locate", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [f["there"] for f in shown["files"]] == [True, True]
    assert {d["option"] for d in shown["defaults"]} == {"fov", "places"}
    assert cli.main(["config", "locate"]) == 0
    assert "locate --threads" in capsys.readouterr().out


def test_config_checks_every_table_and_every_variable(place, capsys, monkeypatch):
    assert cli.main(["config"]) == 0
    assert "every default is the built-in one" in capsys.readouterr().out
    own("[index]\nstirde = 3")
    assert cli.main(["config"]) == 2
    assert "Did you mean 'stride'?" in capsys.readouterr().err
    own("")
    monkeypatch.setenv("CROSSVIEW_INDXE_STRIDE", "3")
    assert cli.main(["config"]) == 2
    assert "Did you mean CROSSVIEW_INDEX_STRIDE?" in capsys.readouterr().err


def test_options_for_all_commands_are_options_of_some():
    group = typer.main.get_command(cli.app)
    context = typer.Context(group)
    options = set().union(
        *(config._list_options(group.get_command(context, verb)) for verb in cli.VERBS)
    )
    assert set(config.FOR_ALL) <= options


def test_records_hold_the_command_with_what_was_not_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["crossview", "evaluate", "run", "--fov=90"])
    set_elsewhere = {
        "fov": "70", "seeds": 3, "hard-samples": True, "corrupt": ["fog", "snow"], "quiet": True,
    }  # fmt: skip
    in_force = [
        config.Default(verb="evaluate", option=option, value=value, origin="x")
        for option, value in set_elsewhere.items()
    ]
    monkeypatch.setattr(config, "IN_FORCE", in_force)
    assert command_line() == (
        "crossview evaluate --seeds=3 --hard-samples --corrupt=fog --corrupt=snow run --fov=90"
    )
