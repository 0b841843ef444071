"""What counts as arrived, what as answered, and what a killed process leaves of it."""

from __future__ import annotations

import json
import os

import pytest

from crossview.errors import BadData, BadImage, CannotWrite
from crossview.localization import inbox as inboxes
from crossview.localization.inbox import Inbox


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def open_inbox(folder, tmp_path, clock):
    return lambda **more: Inbox(folder, tmp_path / "out.jsonl", clock=clock, **more)


def names(arrivals):
    return [arrival.name for arrival in arrivals]


def settle(inbox, clock):
    inbox.list_whole()
    clock.now += inboxes.SETTLE_S
    return inbox.list_whole()


def test_a_photo_is_whole_when_it_has_not_changed_for_two_seconds(folder, open_inbox, clock):
    inbox = open_inbox()
    photo = folder / "a.jpg"
    photo.write_bytes(b"half")
    assert inbox.list_whole() == []
    clock.now = 1.9
    assert inbox.list_whole() == []
    photo.write_bytes(b"half and more")
    clock.now = 2.5
    assert inbox.list_whole() == []
    assert inbox.is_waiting
    clock.now = 4.5
    assert names(inbox.list_whole()) == ["a.jpg"]


def test_a_photo_that_is_renamed_in_and_one_below_are_taken_by_their_names(
    folder, open_inbox, clock
):
    inbox = open_inbox()
    (folder / "upload.part").write_bytes(b"x")
    (folder / ".a.jpg.Xy12").write_bytes(b"x")
    (folder / "below").mkdir()
    (folder / "below" / "b.PNG").write_bytes(b"x")
    assert names(settle(inbox, clock)) == ["below/b.PNG"]
    os.rename(folder / "upload.part", folder / "a.jpg")
    assert names(settle(inbox, clock)) == ["a.jpg", "below/b.PNG"]


def test_links_and_what_is_no_file_are_left_out(folder, open_inbox, clock, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.jpg").write_bytes(b"x")
    os.symlink(tmp_path / "secret.jpg", folder / "a.jpg")
    os.symlink(tmp_path / "elsewhere", folder / "below")
    os.mkfifo(folder / "b.jpg")
    (folder / "d.jpg").mkdir()
    assert settle(open_inbox(), clock) == []


def test_what_is_answered_is_not_answered_again_by_this_process_or_the_next(
    folder, open_inbox, clock, tmp_path
):
    inbox = open_inbox()
    (folder / "a.jpg").write_bytes(b"x")
    (folder / "b.jpg").write_bytes(b"y")
    first, second = settle(inbox, clock)
    inbox.keep(first, {"photo": "a.jpg", "places": []})
    inbox.keep(second, {"photo": "b.jpg", "error": "broken"})
    assert settle(inbox, clock) == []
    assert not inbox.is_waiting
    again = open_inbox(keep_last=5)
    assert settle(again, clock) == []
    assert names(again.list_last()) == ["a.jpg"], "what could not be read is not shown"
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["file"]["bytes"] for line in lines] == [1, 1]


def test_a_photo_that_is_replaced_is_another_and_one_that_is_removed_is_none(
    folder, open_inbox, clock
):
    inbox = open_inbox(keep_last=5)
    (folder / "a.jpg").write_bytes(b"x")
    (arrival,) = settle(inbox, clock)
    assert inbox.is_unchanged(arrival)
    inbox.keep(arrival, {})
    (folder / "a.jpg").write_bytes(b"xy")
    assert not inbox.is_unchanged(arrival)
    (replaced,) = settle(inbox, clock)
    assert replaced != arrival
    (folder / "a.jpg").unlink()
    assert not inbox.is_unchanged(replaced)
    assert settle(inbox, clock) == []
    assert open_inbox(keep_last=5).list_last() == []


def test_a_torn_last_line_goes_and_its_photo_is_answered(folder, open_inbox, clock, tmp_path):
    inbox = open_inbox()
    for name in "ab":
        (folder / f"{name}.jpg").write_bytes(b"x")
    for arrival in settle(inbox, clock):
        inbox.keep(arrival, {"photo": arrival.name})
    out = tmp_path / "out.jsonl"
    whole = out.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole) - 1):
        out.write_bytes(whole[:length])
        again = open_inbox()
        assert out.read_bytes() == whole[:first]
        assert names(settle(again, clock)) == ["b.jpg"]
    out.write_bytes(whole[:-1])  # all but its end
    again = open_inbox()
    assert settle(again, clock) == []


def test_lines_of_others_stay_and_what_is_no_json_is_refused(folder, open_inbox, clock, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text('{"photo": "a.jpg"}\n[1]\n\n{"file": 3}\n')
    (folder / "a.jpg").write_bytes(b"x")
    inbox = open_inbox()
    (arrival,) = settle(inbox, clock)
    inbox.keep(arrival, {})
    assert len(out.read_text().splitlines()) == 5
    out.write_text('{"photo": "a.jpg"}\nhello\n{}\n')
    with pytest.raises(BadData, match="line 2 is no JSON"):
        open_inbox()
    out.write_bytes(b"\xff\xd8\xff\xe0 a photo")
    with pytest.raises(CannotWrite):
        open_inbox()


def test_a_folder_must_be_there_and_may_go_and_come_back(folder, open_inbox, clock, tmp_path):
    inbox = open_inbox()
    folder.rename(tmp_path / "away")
    with pytest.raises(OSError, match="No such file"):
        inbox.list_whole()
    with pytest.raises(BadImage, match="no such folder"):
        open_inbox()
    (tmp_path / "away").rename(folder)
    assert inbox.list_whole() == []


def test_memory_is_bounded(folder, open_inbox, clock, monkeypatch):
    monkeypatch.setattr(inboxes, "MOST_PHOTOS", 2)
    inbox = open_inbox()
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(b"x")
    first, second, third = settle(inbox, clock)
    inbox.keep(first, {})
    inbox.keep(second, {})
    with pytest.raises(BadData, match="begin a new file"):
        inbox.keep(third, {})
