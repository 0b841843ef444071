"""Completion: what bash, zsh and fish are given, and that nothing disturbs who is typing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from crossview import cli
from crossview.catalogue import METHODS

PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(("COMP_", "_CROSSVIEW"))}


@pytest.fixture
def complete(monkeypatch, capsys):
    """What bash would offer for a line, of which the last word is being typed."""

    def ask(*words):
        monkeypatch.setenv("_CROSSVIEW_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["crossview", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert cli.main([]) in (0, 1)
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out.split()

    return ask


def test_verbs_and_options_are_completed(complete):
    assert complete("lo") == ["locate"]
    assert set(complete("")) >= set(cli.VERBS)
    assert complete("locate", "--head") == ["--heading", "--heading-sigma"]
    assert complete("data", "ca") == ["cache"]
    assert complete("locate", "--verb") == ["--verbose"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "--method", "geodtr"), {"geodtr", "geodtr-plus"}),
        (("data", "check", "cvusa"), {"cvusa", "cvusa-cleaned"}),
        (("data", "cache", "--method", "sa"), {name for name in METHODS if name[:2] == "sa"}),
        (("evaluate", "--data", "vigor-same"), {"vigor-same", "vigor-same-corrected"}),
        (("index", "a.tif", "--model", "to"), {"town"}),
        (("locate", "--format", "k"), {"kml", "kmz"}),
        (("demo", "--style", "sub"), {"suburb"}),
        (("study", "singeo-fo"), {"singeo-fov"}),
        (("train", "--device", "c"), {"cpu", "cuda"}),
        (("config", "expo"), {"export"}),
        (("--completion", "z"), {"zsh"}),
    ],
)
def test_names_of_tables_are_completed(complete, words, expected):
    assert set(complete(*words)) == expected


def test_recipes_are_those_of_the_method_that_was_typed(complete):
    assert "vigor" in complete("train", "--method", "sample4geo", "--recipe", "")
    assert complete("train", "--method", "sample4geo", "--recipe", "cvusa-plain") == []


def test_files_are_left_to_the_shell_and_nonsense_says_nothing(complete, tmp_path, monkeypatch):
    monkeypatch.delenv("CROSSVIEW_CONFIG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossview.toml").write_text("[broken")
    assert complete("locate", "ph") == []
    assert complete("nonsense", "x") == []
    assert complete("locate", "--index", "re") == []


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_each_shell_has_a_script(capsys, shell):
    assert cli.main(["--completion", shell]) == 0
    assert f"_CROSSVIEW_COMPLETE=complete_{shell}" in capsys.readouterr().out


def test_another_shell_is_refused(capsys):
    assert cli.main(["--completion", "tcsh"]) == 2
    assert "Known: bash, fish, zsh." in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash here")
def test_a_real_bash_completes(tmp_path):
    program = tmp_path / "crossview"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m crossview "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(crossview --completion bash)"\n'
        "COMP_WORDS=(crossview train --method compa); COMP_CWORD=3\n"
        '_crossview_completion crossview; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**PLAIN, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("compass\n", "")
