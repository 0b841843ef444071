"""``--log`` and ``--verbose``: what a file holds, in UTC, of several processes, without secrets."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import types

import pytest
import typer

from crossview import cli
from crossview.cli import console, log

LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \d+ (DEBUG|INFO|WARNING|ERROR) crossview"
)
SECRET = "https://user:s3cret@host/{z}?key=s3cret"


@pytest.fixture
def doctor(monkeypatch):
    """Put a function in the place of the verb ``doctor``."""

    def install(function):
        module = types.ModuleType("crossview.cli.doctor")
        module.doctor = function
        monkeypatch.setitem(sys.modules, "crossview.cli.doctor", module)

    return install


def speak() -> None:
    console.note("reading", quiet=True)
    console.warn(f"coarse, of {SECRET}")
    console.print_error("a\nforged\x1b[2J line")
    logging.getLogger("crossview.locks").warning("Waiting for it.")
    logging.getLogger("crossview.index").debug("Opened.")
    console.print_result("the result")


def test_a_log_holds_what_was_printed_and_what_rooms_say(doctor, capsys, tmp_path):
    doctor(speak)
    file = tmp_path / "log.txt"
    assert cli.main(["doctor", "--log", str(file)]) == 0
    lines = file.read_text().splitlines()
    assert all(LINE.match(line) for line in lines)
    said = [line.split(": ", 1)[1] for line in lines]
    assert said[0].startswith(f"crossview doctor --log {file} (crossview 0.")
    assert said[1:-1] == [
        "reading", "coarse, of https://...@host/{z}?...", "a | forged\ufffd[2J line",
        "Waiting for it.", "Opened.",
    ]  # fmt: skip
    assert "Ended after" in said[-1]
    assert said[-1].endswith("with exit code 0.")
    printed = capsys.readouterr()
    assert printed.out == "the result\n"
    assert "reading" not in printed.err
    assert "Opened." not in printed.err
    assert "Waiting for it.\n" in printed.err, "warnings of rooms are shown as ever"


def test_verbose_shows_what_rooms_say_and_nothing_twice(doctor, capsys):
    doctor(speak)
    assert cli.main(["doctor", "--verbose"]) == 0
    said = capsys.readouterr().err
    assert re.search(r"Z \d+ DEBUG crossview.index: Opened.", said)
    assert said.count("Waiting for it.") == said.count("coarse") == 1
    assert cli.main(["doctor"]) == 0
    assert "Opened." not in capsys.readouterr().err, "what one command shows, the next does not"


def test_why_it_failed_stands_in_the_log_with_a_traceback_of_our_own_faults(doctor, tmp_path):
    def fail() -> None:
        raise KeyError("x")

    doctor(fail)
    file = tmp_path / "log.txt"
    assert cli.main(["doctor", "--log", str(file)]) == 1
    lines = file.read_text().splitlines()
    assert "ERROR crossview.cli: Unexpected KeyError: 'x'" in lines[1]
    traceback = [line for line in lines if not LINE.match(line)]
    assert "    Traceback (most recent call last):" in traceback
    assert all(line.startswith("    ") for line in traceback)
    assert lines[-1].endswith("with exit code 1.")


def test_every_command_takes_both_options(capsys):
    group = typer.main.get_command(cli.app)
    for verb in cli.VERBS:
        command = group.get_command(typer.Context(group), verb)
        for one in getattr(command, "commands", {}).values() or [command]:
            assert {"verbose", "log"} <= {p.name for p in one.params}, verb
            assert len({p.name for p in one.params}) == len(one.params), verb


def test_secrets_of_addresses_are_left_out():
    assert log.conceal_secrets(f"a {SECRET} b") == "a https://...@host/{z}?... b"
    plain = "C:\\a?b x@y.z https://host/{z}/{x}/{y}.png"
    assert log.conceal_secrets(plain) == plain


@pytest.mark.parametrize("name", ["", "absent/log.txt", "photo.jpg"])
def test_what_cannot_be_added_to_is_refused_before_work(doctor, capsys, tmp_path, name):
    doctor(speak)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 9)
    assert cli.main(["doctor", "--log", str(tmp_path / name)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert str(tmp_path / name) in printed.err
    assert (tmp_path / "photo.jpg").read_bytes() == b"\xff\xd8\xff\xe0" * 9


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_told_of_once_and_stops_nothing(tmp_path, capsys):
    handler = log._FileHandler(tmp_path / "log.txt")
    os.dup2(os.open("/dev/full", os.O_WRONLY), handler._file)
    record = logging.LogRecord("crossview.x", logging.INFO, "", 0, "text", (), None)
    handler.emit(record)
    handler.emit(record)
    handler.close()
    assert capsys.readouterr().err.count("cannot be written: ") == 1


def test_a_torn_last_line_is_ended_first(doctor, tmp_path):
    doctor(speak)
    file = tmp_path / "log.txt"
    file.write_text("half a li")
    assert cli.main(["doctor", "--log", str(file)]) == 0
    assert file.read_text().splitlines()[0] == "half a li"


def test_processes_share_a_file_without_mixing_lines(tmp_path):
    file = tmp_path / "log.txt"
    script = (
        "import logging, sys, typer\nfrom crossview.cli import log\n"
        "handler = log._FileHandler(__import__('pathlib').Path(sys.argv[1]))\n"
        "logger = logging.getLogger('crossview.x')\nlogger.addHandler(handler)\n"
        "logger.setLevel(logging.DEBUG)\n"
        "for n in range(300): logger.info('%s %d', sys.argv[2] * 3000, n)"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(file), who]) for who in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    lines = file.read_text().splitlines()
    assert len(lines) == 900
    assert all(re.search(r"crossview.x: ([abc])\1{2999} \d+$", line) for line in lines)
