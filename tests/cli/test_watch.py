"""``locate --watch``: each photo that arrives is answered once, whatever happens meanwhile."""

# ruff: noqa: F401, F811

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest
from PIL import Image
from tests.cli.test_locate import FIRST, SECOND, _toy_model, made

from crossview.cli import locate as watching
from crossview.cli import main
from crossview.localization import inbox, queries
from crossview.locks import lock


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(inbox, "SETTLE_S", 0.0)
    monkeypatch.setattr(watching, "POLL_S", 0.02)
    monkeypatch.setattr(queries, "ANY_PHOTOS", 10**9)  # no processes of their own


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def put(made, folder, name, source="first.png"):
    data = (made.path.parent / source).read_bytes()
    (folder.parent / "uploaded").write_bytes(data)
    os.rename(folder.parent / "uploaded", folder / name)


def once(made, folder, *more):
    out = folder.parent / "out.jsonl"
    words = ["--index", made.path, "--out", out, "--watch", folder, "--once", *more]
    return main(["locate", *map(str, words)])


def lines(folder):
    return [json.loads(line) for line in (folder.parent / "out.jsonl").read_text().splitlines()]


def test_photos_are_answered_once_and_new_ones_are_added(made, folder, capsys):
    put(made, folder, "a.png")
    assert once(made, folder) == 0
    put(made, folder, "b.png", "second.png")
    assert once(made, folder, "--quiet") == 0
    assert once(made, folder, "--quiet") == 0
    first, second = lines(folder)
    assert [first["places"][0]["window"], second["places"][0]["window"]] == [FIRST, SECOND]
    assert first["photo"] == str(folder / "a.png")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{folder / 'a.png'}: ")
    assert len(printed.err.splitlines()) == 1


def test_what_cannot_be_read_is_said_once_and_remembered(made, folder, capsys):
    put(made, folder, "a.png")
    put(made, folder, "b.jpg", "broken.jpg")
    assert once(made, folder, "--quiet") == 1
    assert "b.jpg" in capsys.readouterr().err
    assert [("error" in line) for line in lines(folder)] == [False, True]
    assert lines(folder)[1]["error"].startswith(f"{folder / 'b.jpg'}: ")
    assert once(made, folder, "--quiet") == 0
    assert capsys.readouterr().err == ""
    put(made, folder, "b.jpg")
    assert once(made, folder, "--quiet") == 0, "replaced by one that can be read"
    assert [("error" in line) for line in lines(folder)] == [False, True, False]


def test_a_hint_that_fits_one_photo_only_is_an_error_of_the_other_only(made, folder, capsys):
    Image.new("RGB", (64, 640)).save(folder / "tall.png")
    put(made, folder, "a.png")
    assert once(made, folder, "--horizon-px", 300, "--quiet") == 1
    by_name = {line["file"]["name"]: line for line in lines(folder)}
    assert "a horizon at row 300" in by_name["a.png"]["error"]
    assert "places" in by_name["tall.png"]


def test_a_photo_that_changes_while_it_is_located_is_answered_as_what_it_became(
    made, folder, monkeypatch
):
    put(made, folder, "a.png")
    really = watching.Searcher.locate

    def locate(self, paths, fail):
        for found in really(self, paths, fail):
            if not (folder.parent / "out.jsonl").exists():
                monkeypatch.undo()
                _keep_quick(monkeypatch)
                put(made, folder, "a.png", "second.png")
            yield found

    monkeypatch.setattr(watching.Searcher, "locate", locate)
    from tests.cli.test_locate import TOY

    monkeypatch.setattr("crossview.localization.locate.get_index_model", lambda i, **_: TOY)
    assert once(made, folder, "--quiet") == 0
    assert [line["places"][0]["window"] for line in lines(folder)] == [SECOND]


def _keep_quick(monkeypatch):
    monkeypatch.setattr(inbox, "SETTLE_S", 0.0)
    monkeypatch.setattr(watching, "POLL_S", 0.02)
    monkeypatch.setattr(queries, "ANY_PHOTOS", 10**9)


def test_the_page_holds_the_last_photos_also_after_a_restart(made, folder, monkeypatch):
    monkeypatch.setattr(watching, "ON_PAGE", 2)
    page = folder.parent / "map.html"
    for name in "abc":
        put(made, folder, f"{name}.png")
    assert once(made, folder, "--map", page, "--quiet") == 0
    whole = page.read_text()
    assert [f"{name}.png" in whole for name in "abc"] == [False, True, True]
    page.unlink()
    assert once(made, folder, "--map", page, "--quiet") == 0
    assert page.read_text() == whole
    assert len(lines(folder)) == 3
    (folder / "c.png").unlink()
    put(made, folder, "d.png")
    assert once(made, folder, "--map", page, "--quiet") == 0
    text = page.read_text()
    assert [f"{name}.png" in text for name in "abcd"] == [False, True, False, True]


def test_an_audit_record_is_added_for_each_answer(made, folder):
    put(made, folder, "a.png")
    audit = folder.parent / "audit.jsonl"
    assert once(made, folder, "--audit", audit, "--quiet") == 0
    assert once(made, folder, "--audit", audit, "--quiet") == 0
    assert len(audit.read_text().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_for_photos_and_is_stopped_cleanly(made, folder, capsys, number):
    page, out = folder.parent / "map.html", folder.parent / "out.jsonl"

    def arrive():
        for name in ("a.png", "b.png"):
            put(made, folder, name)
            end = time.monotonic() + 20
            while time.monotonic() < end and not (out.exists() and name in out.read_text()):
                time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=arrive)
    thread.start()
    words = ["--index", made.path, "--out", out, "--watch", folder, "--map", page]
    assert main(["locate", *map(str, words)]) == 130
    thread.join()
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"Watching {folder}")
    assert said[-1] == "Stopped."
    assert len(lines(folder)) == 2
    assert "b.png" in page.read_text(), "what was new at the end is on the page"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["in", "map.html", "out.jsonl"]


def test_a_folder_that_goes_is_waited_for(made, folder, capsys):
    put(made, folder, "a.png")
    away = folder.with_name("away")
    out = folder.parent / "out.jsonl"

    def move():
        while not out.exists():
            time.sleep(0.02)
        folder.rename(away)
        time.sleep(0.2)
        put(made, away, "b.png")
        away.rename(folder)
        while "b.png" not in out.read_text():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=move)
    thread.start()
    words = ["--index", made.path, "--out", out, "--watch", folder, "--quiet"]
    assert main(["locate", *map(str, words)]) == 130
    thread.join()
    said = capsys.readouterr().err
    assert said.count("is looked for again and again") == 1
    assert len(lines(folder)) == 2


def test_two_watches_of_one_file_do_not_run_at_once(made, folder, capsys):
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with lock(folder.parent / "out.jsonl", "crossview locate --watch"):
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(20)
    assert once(made, folder) == 1
    leave.set()
    thread.join()
    assert "being written by another process: crossview locate --watch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--watch", "in"], "Name it: --out answers.jsonl"),
        (["--watch", "in", "--out", "a.csv"], "Name it: --out answers.jsonl"),
        (["--watch", "in", "--out", "a.jsonl", "--truth", "exif"], "no PHOTO and no --truth"),
        (["a.jpg", "--watch", "in", "--out", "a.jsonl"], "no PHOTO and no --truth"),
        (["a.jpg", "--once"], "--once belongs to --watch"),
        ([], "Missing argument 'PHOTO'"),
    ],
)
def test_what_does_not_go_together_is_refused(made, capsys, words, message):
    assert main(["locate", "--index", str(made.path), *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_strangers_photos_are_decoded_in_processes_of_their_own(made, folder, monkeypatch):
    monkeypatch.setattr(queries, "ANY_PHOTOS", 1)
    begun = []
    really = queries.Decoders

    def note(*given, **more):
        begun.append(given)
        return really(*given, **more)

    monkeypatch.setattr(queries, "Decoders", note)
    put(made, folder, "a.png")
    assert once(made, folder, "--quiet") == 0
    assert len(begun) == 1
    assert len(lines(folder)) == 1
