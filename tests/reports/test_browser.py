"""The page in a real browser, opened from a file. Skipped where there is no Chromium."""

import re
import subprocess

from tests.browser import CHROMIUM, QUIET, needs_chromium
from tests.reports.made_up import evaluation

from crossview.reports.report_page import ReportFacts, write_report

pytestmark = needs_chromium


def test_its_script_runs_under_its_own_policy_without_a_word_on_the_console(tmp_path):
    page = write_report(
        [evaluation("a"), evaluation("b")], tmp_path, ReportFacts(title="t", created="now")
    )
    show = ["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]
    command = [CHROMIUM, *QUIET, *show, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert re.findall(r".*CONSOLE.*", done.stderr) == []
    buttons = re.findall(r"<button[^>]*data-run[^>]*>", done.stdout)
    assert len(buttons) == 2
    assert not any("disabled" in button for button in buttons)  # the script makes them work
    assert 'id="theme" type="button" class="theme">' in done.stdout
