"""Files are whole or absent."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossview.errors import BadData, CannotWrite
from crossview.files import (
    append_lines,
    atomic_write,
    is_apple_double,
    is_system_file,
    list_entries,
    list_files,
    list_folders,
    printable,
    read_lines,
    require_room,
    sweep,
    walk_files,
    write_together,
    writing,
    writing_folder,
)

ROOT = Path(__file__).resolve().parents[1]


def test_text_is_written_as_utf_8_and_nothing_else_is_left(tmp_path):
    atomic_write(tmp_path / "straße 東京 #1.csv", "höhe\n")
    assert [p.name for p in tmp_path.iterdir()] == ["straße 東京 #1.csv"]
    assert (tmp_path / "straße 東京 #1.csv").read_bytes() == "höhe\n".encode()


@pytest.mark.parametrize("problem", [ValueError("ours"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_no_leftovers(tmp_path, problem):
    atomic_write(tmp_path / "a.json", b"old")
    with pytest.raises(type(problem)), writing(tmp_path / "a.json") as temporary:
        temporary.write_bytes(b"half of the n")
        raise problem
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_the_temporary_file_has_the_suffix_and_the_folder_of_the_real_one(tmp_path):
    with writing(tmp_path / "map.tif") as temporary:
        assert (temporary.suffix, temporary.parent) == (".tif", tmp_path)


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")]
)
def test_a_full_or_read_only_disk_is_said_clearly(tmp_path, number, said):
    with pytest.raises(CannotWrite, match=said), writing(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_hides_the_full_disk_is_seen_through(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(CannotWrite, match="disk is full"), writing(tmp_path / "a"):
        raise OSError("write failed")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CannotWrite, match="there is no folder .*nowhere"):
        atomic_write(tmp_path / "nowhere" / "a.csv", "")


def test_a_folder_or_a_device_is_never_replaced_by_a_file(tmp_path):
    with pytest.raises(CannotWrite, match="it is a folder"):
        atomic_write(tmp_path, "")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CannotWrite, match="not an ordinary file"):
            atomic_write(tmp_path / "pipe", "")


def test_an_error_about_another_file_passes_through(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "a"):
        (tmp_path / "photo.jpg").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_writing_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic_write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


SYSTEM_NAMES = [
    "._photo.jpg",
    ".DS_Store",
    ".hidden",
    "Thumbs.db",
    "thumbs.DB",
    "desktop.ini",
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
]


@pytest.mark.parametrize("name", SYSTEM_NAMES)
def test_what_the_system_leaves_in_folders_is_no_data(name):
    assert is_system_file(name)
    assert is_system_file(f"photos/{name}")


@pytest.mark.parametrize("name", ["_photo.jpg", "thumbs.jpg", "@home.png", "recycle", "a.b.png"])
def test_names_like_those_are_data(name):
    assert not is_system_file(name)


def test_a_folder_is_listed_in_order_without_system_files(tmp_path):
    for name in ("b.JPG", "a.jpg", "._a.jpg", "c.txt", "Thumbs.db"):
        (tmp_path / name).touch()
    for name in ("sub", "@eaDir", "folder.jpg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").touch()
    names = [path.name for path in list_entries(tmp_path)]
    assert names == ["a.jpg", "b.JPG", "c.txt", "folder.jpg", "sub"]
    assert [path.name for path in list_files(tmp_path, {".jpg"})] == ["a.jpg", "b.JPG"]
    assert [path.name for path in list_folders(tmp_path)] == ["folder.jpg", "sub"]
    below = [path.relative_to(tmp_path).as_posix() for path in walk_files(tmp_path, {".jpg"})]
    assert below == ["a.jpg", "b.JPG", "folder.jpg/x.jpg", "sub/x.jpg"]


def test_a_file_of_the_mac_about_another_is_known_by_its_first_bytes(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (tmp_path / "b.tif").write_bytes(b"II*\0")
    assert is_apple_double(tmp_path / "a.tif")
    assert not is_apple_double(tmp_path / "b.tif")
    assert not is_apple_double(tmp_path / "missing.tif")


@pytest.fixture
def calls(monkeypatch):
    """What is asked of the disk, in order: ("fsync", name) and ("replace", name, name)."""
    made = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        made.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def noted_replace(one, other):
        made.append(("replace", Path(one).name, Path(other).name))
        replace(one, other)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="names of descriptors are read from /proc")
def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_next_step(tmp_path, calls):
    (tmp_path / "run").mkdir()
    atomic_write(tmp_path / "run" / "a.json", "new")
    temporary = calls[0][1]
    assert temporary.endswith(".partial.json")
    assert calls == [("fsync", temporary), ("replace", temporary, "a.json"), ("fsync", "run")]


@pytest.mark.skipif(sys.platform != "linux", reason="names of descriptors are read from /proc")
def test_all_files_of_a_folder_are_on_the_disk_before_its_name(tmp_path, calls):
    with writing_folder(tmp_path / "model") as folder:
        (folder / "model.onnx").write_bytes(b"x")
    temporary = folder.name
    assert calls == [
        ("fsync", "model.onnx"), ("fsync", temporary), ("replace", temporary, "model"),
        ("fsync", tmp_path.name),
    ]  # fmt: skip


def test_a_folder_takes_the_place_of_another_as_a_whole(tmp_path):
    for name in ("old", "new"):
        with writing_folder(tmp_path / "model") as folder:
            (folder / f"{name}.onnx").write_text(name)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["new.onnx"]


@pytest.mark.parametrize("can", [True, False])
def test_an_interrupted_folder_leaves_the_old_one(tmp_path, can, monkeypatch):
    if not can:
        monkeypatch.setattr("crossview.files._exchanged", lambda *_: False)
    with writing_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), writing_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "old"


REPLACED_FOR_EVER = """
import sys
from pathlib import Path
from crossview.files import writing_folder
for turn in range(10_000):
    with writing_folder(Path(sys.argv[1]) / "model") as folder:
        for name in "abc":
            (folder / name).write_text(str(turn))
    print(turn, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a folder is moved away first")
def test_a_folder_killed_at_any_instant_is_the_old_one_or_the_new_one(tmp_path):
    for turns in (2, 5, 9):
        with subprocess.Popen(
            [sys.executable, "-c", REPLACED_FOR_EVER, str(tmp_path)], cwd=ROOT,
            stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            for _ in range(turns):
                process.stdout.readline()
            process.kill()
        assert len({(tmp_path / "model" / name).read_text() for name in "abc"}) == 1
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_sweeping_takes_only_names_that_are_ours(tmp_path):
    ours = [".0123456789abcdef.partial.json", ".0123456789abcdef.partial"]
    others = [".partial", "thesis.partial", ".0123456789abcdef.txt", "x.0123456789abcdef.partial"]
    for name in (*ours, *others):
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(others)
    sweep(tmp_path / "nowhere")


def test_lines_are_added_and_a_torn_line_is_ended_first(tmp_path):
    log = tmp_path / "log.jsonl"
    append_lines(log, [{"a": 1}])
    with log.open("a") as stream:
        stream.write('{"a": 2, "b')
    append_lines(log, [{"a": 3}, {"a": 4}])
    assert log.read_text().splitlines() == ['{"a": 1}', '{"a": 2, "b', '{"a": 3}', '{"a": 4}']


def test_lines_are_strict_json_in_valid_text(tmp_path):
    append_lines(tmp_path / "log", [{"photo": "caf\udce9.jpg", "all": [float("nan"), "\ud800"]}])
    entry = json.loads((tmp_path / "log").read_text(), parse_constant=pytest.fail)
    assert entry == {"photo": "caf\ufffd.jpg", "all": [None, "\ufffd"]}
    assert printable("a\nb") == "a\ufffdb"


@pytest.mark.parametrize("torn", [b'{"a": 2, "b', b"{", b"[1", b"\x00\x00\x00", b"\xff"])
def test_a_torn_last_line_is_left_out(tmp_path, torn):
    (tmp_path / "log").write_bytes(b'{"a": 1}\n' + torn)
    assert read_lines(tmp_path / "log") == ([{"a": 1}], True)


def test_a_whole_log_is_not_torn(tmp_path):
    (tmp_path / "log").write_bytes(b'{"a": 1}\r\n\n{"a": "\xe2\x80\xa8"}')
    assert read_lines(tmp_path / "log") == ([{"a": 1}, {"a": "\u2028"}], False)
    (tmp_path / "log").write_bytes(b"")
    assert read_lines(tmp_path / "log") == ([], False)


@pytest.mark.parametrize("bad", [b'{"a": 2, "b', b"7", b"\xff", b"[" * 100_000])
def test_a_damaged_line_amid_others_is_named(tmp_path, bad):
    (tmp_path / "log").write_bytes(b'{"a": 1}\n' + bad + b'\n{"a": 3}\n')
    with pytest.raises(BadData, match=r"log, line 2 is damaged"):
        read_lines(tmp_path / "log")


NAMES = ("a.onnx", "b.onnx", "model.json")
WRITTEN_FOR_EVER = """
import sys
from pathlib import Path
from crossview.files import write_together
names = ("a.onnx", "b.onnx", "model.json")
for turn in range(10_000):
    write_together(Path(sys.argv[1]), {name: str(turn) for name in names}, names)
    print(turn, flush=True)
"""


@pytest.mark.parametrize("others", [False, True], ids=["own folder", "folder with other files"])
def test_files_that_belong_together_are_never_mixed_when_killed(tmp_path, others):
    folder = tmp_path / "model"
    if others:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    for turns in (2, 5, 9, 12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITTEN_FOR_EVER, str(folder)], cwd=ROOT,
            stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            for _ in range(turns):
                process.stdout.readline()
            process.kill()
        if (folder / "model.json").exists():
            assert len({(folder / name).read_text() for name in NAMES}) == 1
        else:
            assert others
    write_together(folder, dict.fromkeys(NAMES, "new"), NAMES)
    assert {(folder / name).read_text() for name in NAMES} == {"new"}
    assert {p.name for p in folder.iterdir()} == {*NAMES, *(["notes.txt"] if others else [])}


def test_files_of_another_such_set_go(tmp_path):
    for written in (("a.onnx", "b.onnx", "model.json"), ("b.onnx", "model.json")):
        write_together(tmp_path / "model", dict.fromkeys(written, "x"), NAMES)
        assert {p.name for p in (tmp_path / "model").iterdir()} == set(written)


def test_the_folder_in_which_the_user_stands_is_not_exchanged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    write_together(".", dict.fromkeys(NAMES, "x"), NAMES)
    assert tmp_path.stat().st_ino == before
    assert Path("model.json").read_text() == "x"


def test_files_that_belong_together_are_written_through_a_link_and_it_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_together(tmp_path / "link", dict.fromkeys(NAMES, "x"), NAMES)
    assert (tmp_path / "link").is_symlink()
    assert {p.name for p in (tmp_path / "real").iterdir()} == set(NAMES)


def test_where_many_write_only_what_is_old_is_swept(tmp_path):
    for name, age_s in ((".0123456789abcdef.partial", 7200), (".0123456789abcdee.partial", 0)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    sweep(tmp_path, older_than_s=3600.0)
    assert [p.name for p in tmp_path.iterdir()] == [".0123456789abcdee.partial"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of descriptors are read from /proc")
def test_one_of_many_files_does_not_wait_for_the_disk(tmp_path, calls):
    atomic_write(tmp_path / "a.jpg", b"x", durable=False)
    assert [call[0] for call in calls] == ["replace"]


def test_a_disk_that_is_too_small_is_told_before(tmp_path):
    place = tmp_path / "not" / "yet"
    require_room(place, 1000.0, "It takes", "Ask for less.")
    size = r"It takes about 1000000000\.00 GB, and [0-9.]+ GB are free"
    with pytest.raises(CannotWrite, match=size + r" where .*yet lies\.\nAsk for less\.$"):
        require_room(place, 1e18, "It takes", "Ask for less.")
