"""What the documents tell a reader to type, typed: start pages in their order, other lines singly.

Each line is run in a folder of small stand-ins for what it reads, with words added that make it
small (``documented.toml``). Nothing of it is measured here but that it ends well and writes what it
says.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from tests.documented import DOCUMENTS, ROOT, Shown, find_rule, read_commands
from tests.index.regions import region
from tests.outputs.fakes import photo_pixels
from tests.shared_data import shared
from tests.tiny_pairs import write_pairs
from tests.toy_model import toy_model

from crossview.cli import main

pytest.importorskip("torch", reason="needs the package torch")

COMPASS = (
    *("--config=widths=[8,16,16]", "--config=blocks=[1,1,1]", "--config=depth=8", "--batch=4"),
    *("--steps=2", "--device=cpu", "--workers=0", "--quiet"),
)


def is_run(shown: Shown) -> bool:
    rule = find_rule(shown)
    return rule is not None and rule[0] == "run"


WALKS = sorted((ROOT / "docs" / "start").glob("*.md"))
ONCE = {
    shown.line: shown
    for path in DOCUMENTS
    if path not in WALKS
    for shown in read_commands(path)
    if is_run(shown)
}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """Imagery, photos, pairs, a page, a model, an index, runs and records, by their usual names."""
    folder = tmp_path_factory.mktemp("documented")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        region(folder, "city.tif")
        Path("holiday").mkdir()
        Path("more").mkdir()
        rows = ["file,lat,lon"]
        for seed, name in enumerate(["photo.jpg", "holiday/a.jpg", "more/b.jpg"]):
            Image.fromarray(photo_pixels(seed)).save(name)
            rows.append(f"{name},52.0,13.0")
        Path("places.csv").write_text("\n".join(rows), encoding="utf-8")
        for place in (folder, folder / "my", folder / "my-worlds"):
            pairs = write_pairs(place, 24, val=8)
            pairs.write_text(pairs.read_text().replace(",val,", ",test,"))
        Path("docs/examples").mkdir(parents=True)
        for name in ("mine.py", "docs/examples/mine.py"):
            shutil.copy(ROOT / "docs/examples/mine.py", name)
        toy_model(folder / "my-model", azimuth_bins=8)
        type_line("index city.tif --model my-model --stride 60 --out city.cvx --quiet")
        type_line("train --method compass --data pairs.csv --out runs/mine", *COMPASS)
        type_line("evaluate runs/mine --data pairs.csv --out results/mine --workers 0")
        for copy in ("runs/a", "runs/b"):
            shutil.copytree("runs/mine", copy)
        shutil.copytree("results/mine", "results/theirs")
    return folder


def type_line(line: str, *more: str) -> None:
    assert main([*shlex.split(line), *more]) == 0, line


def run_shown(shown: Shown) -> None:
    """Run the line with what its entry adds; what it would make is not there before."""
    kind, entry = find_rule(shown)
    assert kind == "run"
    words = shown.words[1:]
    if "--out" in words:
        out = Path(words[words.index("--out") + 1])
        shutil.rmtree(out, ignore_errors=True)
    words = [str(found) for word in words for found in glob(word)]
    assert main([*words, *shlex.split(entry.get("smaller", ""))]) == 0, shown.line
    if "--out" in words and "--dry-run" not in words:
        assert out.exists(), shown.line


def glob(word: str) -> list[str]:
    """What a shell makes of a word."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.mark.parametrize("shown", ONCE.values(), ids=lambda shown: shown.line[:60])
def test_a_command_of_the_documents_runs(shown, stand_ins, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(stand_ins, tmp_path / "here"))
    run_shown(shown)


@pytest.mark.parametrize("page", WALKS, ids=lambda path: path.stem)
def test_a_start_page_leads_to_its_end(page, stand_ins, tmp_path, monkeypatch, capsys):
    """In the order of the page and with the packaged models; only imagery and a photo are there."""
    for name in ("city.tif", "photo.jpg", "docs"):
        copy = shutil.copytree if (stand_ins / name).is_dir() else shutil.copy
        copy(stand_ins / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    lines = [shown for shown in read_commands(page) if is_run(shown)]
    assert len(lines) >= 3
    for shown in lines:
        run_shown(shown)
    said = capsys.readouterr().out
    if page.stem != "service":
        assert re.search(r"R@1|within 25 m", said)


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys):
    """Run a script of docs/examples in a new folder, as typed; gives what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: object) -> str:
        script = str(ROOT / "docs" / "examples" / name)
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        capsys.readouterr()
        runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out

    return run


def test_ten_lines_locate_a_photo(run_example, stand_ins, tmp_path):
    said = run_example("locate.py", stand_ins / "city.tif", stand_ins / "photo.jpg")
    assert re.match(r"Place\(1: .*, score -?\d\.\d{3}, heading \d+ degrees\)", said)
    script = (ROOT / "docs/examples/locate.py").read_text(encoding="utf-8").split('"""')[2]
    assert len([line for line in script.splitlines() if line]) <= 10


def test_two_trainings_are_reported_side_by_side(run_example, tmp_path):
    pairs = write_pairs(tmp_path / "pairs", 40, val=8)
    said = run_example("train_and_report.py", pairs, tmp_path / "out", 2)
    assert "narrow R@1 " in said
    page = (tmp_path / "out/report/report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("narrow", "wide", "Two widths of one network"))


def test_the_report_on_the_embedded_world(tmp_path, monkeypatch, capsys):
    """With two small towns and two fields of view instead of eight and four."""
    script = ROOT / "docs/examples/town_report.py"
    main = runpy.run_path(str(script))["main"]
    facts = main.__globals__
    facts["TOWNS"] = {"same-area": ("suburb",), "cross-area": ("terraces",)}
    facts["CONDITIONS"] = facts["CONDITIONS"][1:3]
    facts["TownPlan"] = partial(facts["TownPlan"], side_m=160.0)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "out"), "3"])
    main()
    page = Path(capsys.readouterr().out.strip())
    assert "colour histogram" in page.read_text(encoding="utf-8")


def test_real_places_become_imagery_and_photos_that_are_located(run_example, tmp_path, capsys):
    """As docs/real-data.md shows it, but for a part of the region."""
    run_example("real_places.py", shared("data"), "real")
    part = ("--near", "60.2333,24.9263", "--within", "0.5", "--stride", "80", "--quiet")
    type_line("index real/aerial --out real/region.cvx", *part)
    photo = "real/photos/111050484379850.jpg"
    type_line(f"locate {photo} --index real/region.cvx --truth real/places.csv --map real/map.html")
    assert "R@1" in capsys.readouterr().out
    assert Path("real/map.html").is_file()
