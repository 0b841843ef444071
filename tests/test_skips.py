"""Tests that do not run are named at the end, and a check without a browser fails."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.browser import package
from tests.skips import WANTS, told_skips

ROOT = Path(__file__).resolve().parents[1]


def skipped(nodeid, reason):
    return SimpleNamespace(nodeid=nodeid, longrepr=(nodeid, 1, f"Skipped: {reason}"))


def test_what_was_skipped_is_counted_by_reason_and_file():
    reports = [
        skipped("tests/a.py::one", "needs shared/data/x: put it beside the checkout"),
        skipped("tests/a.py::two", "needs shared/parity: put it beside the checkout"),
        skipped("tests/a.py::two", "needs shared/parity: put it beside the checkout"),
        skipped("tests/b.py", "needs shared/data/y: put it beside the checkout"),
        skipped("tests/c.py::one", "needs Chromium; on Debian: apt install chromium"),
        skipped("tests/c.py::two", "needs the package playwright: pip install -e '.[dev]'"),
        skipped("tests/d.py::one", "Windows has no SIGTERM to catch"),
    ]
    assert told_skips(reports) == [
        "3 skipped for want of ../shared: tests/a.py (2), tests/b.py (1)",
        "1 skipped for want of Chromium: tests/c.py (1)",
        "1 skipped for want of a package: tests/c.py (1)",
        "1 skipped because Windows has no SIGTERM to catch: tests/d.py (1)",
    ]
    assert told_skips([]) == []


def test_every_test_that_may_be_skipped_says_why():
    """What is absent is "needs ..." of a kind that is counted; else a system lacks something."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            if call in ("pytest.importorskip", "pytest.mark.skipif"):
                (reason,) = (word.value for word in node.keywords if word.arg == "reason")
            elif call in ("pytest.skip", "pytest.mark.skip"):
                reason = node.args[0]
            else:
                continue
            text = ast.unparse(reason).strip("f\"'")
            assert len(text) > 2, f"{path}: {ast.unparse(node)}"
            if text.startswith("needs "):
                assert any(text.startswith(want) for want in WANTS), f"{path}: {text}"


def test_a_run_without_the_shared_data_says_so_at_its_end(tmp_path):
    environment = {**os.environ, "CROSSVIEW_SHARED": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/views/test_aerial.py", "-p", "no:cacheprovider"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "skipped for want of ../shared: tests/views/test_aerial.py (" in done.stdout


@pytest.fixture
def bare(tmp_path):
    """A PATH with what .ci/run calls and no browser; ``make`` says that three tests passed."""
    for tool in ("bash", "dirname", "mktemp", "tee", "grep", "rm", "cat", "timeout"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    for tool, answer in (("make", "3 passed"), ("id", "1000")):
        (tmp_path / tool).write_text(f"#!/bin/sh\necho {answer}\n")
        (tmp_path / tool).chmod(0o755)
    return tmp_path


def check(path):
    return subprocess.run(
        [str(ROOT / ".ci" / "run")], env={"PATH": str(path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_check_of_a_change_fails_without_a_browser(bare):
    done = check(bare)
    assert done.returncode == 1
    assert "No Chromium" in done.stderr
    assert "passed" not in done.stdout
    (bare / "chromium").write_text("#!/bin/sh\n")
    (bare / "chromium").chmod(0o755)
    assert check(bare).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_check_of_a_change_installs_a_browser_where_it_may(bare):
    (bare / "id").write_text("#!/bin/sh\necho 0\n")
    chromium = bare / "chromium"
    (bare / "apt-get").write_text(
        f'#!/bin/sh\n[ "$1" = install ] && printf "#!/bin/sh\\n" > {chromium} && '
        f"{shutil.which('chmod')} +x {chromium}\nexit 0\n"
    )
    (bare / "apt-get").chmod(0o755)
    assert check(bare).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize("service", ["echo 1 failed; exit 1", "echo no tests ran"])
def test_the_check_of_a_change_fails_where_the_real_servers_do(bare, service):
    (bare / "chromium").write_text("#!/bin/sh\n")
    (bare / "chromium").chmod(0o755)
    (bare / "make").write_text(
        f'#!/bin/sh\n[ "$1" = test-services ] || {{ echo 3 passed; exit 0; }}\n{service}\n'
    )
    assert check(bare).returncode != 0


def test_tests_of_pages_fail_where_a_browser_is_demanded():
    environment = {**os.environ, "PATH": "", "CROSSVIEW_NEEDS_CHROMIUM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "import tests.browser"], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no Chromium found" in done.stderr


def test_a_browser_that_is_demanded_demands_its_packages(monkeypatch):
    monkeypatch.setenv("CROSSVIEW_NEEDS_CHROMIUM", "1")
    with pytest.raises(ModuleNotFoundError):
        package("absent_package", "absent")
    monkeypatch.delenv("CROSSVIEW_NEEDS_CHROMIUM")
    with pytest.raises(pytest.skip.Exception, match="needs the package absent"):
        package("absent_package", "absent")
