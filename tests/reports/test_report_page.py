"""The page: whole, safe, without a network, and saying what it must."""

import json
import re
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from tests.browser import CHROMIUM, QUIET, needs_chromium
from tests.reports.made_up import evaluation, gallery

from crossview.errors import BadData
from crossview.evaluation.evaluation_record import open_records
from crossview.reports.report_page import ReportFacts, write_report

HOSTILE = "<img src=x onerror=alert(1)>&\"'"


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def having(self, name):
        return [values for _, values in self.found if name in values]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for side, shape in (("ground", (32, 96, 3)), ("aerial", (48, 48, 3))):
        (root / side).mkdir()
        for n in range(200):
            pixels = np.random.default_rng(n).integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / side / f"{n}.jpg")
    return str(root)


@pytest.fixture(scope="module")
def written(pictures, tmp_path_factory):
    records = [
        evaluation(
            label,
            f"town:data/{town}",
            right,
            200,
            fov_deg=fov,
            root=pictures,
            references=gallery(200),
        )
        for town in ("suburb", "harbour")
        for label, right in ((HOSTILE, 0.7), ("second", 0.4))
        for fov in (360.0, 90.0)
    ]
    folder = tmp_path_factory.mktemp("report")
    write_report(records, folder, ReportFacts(title="A title", created="2026-01-01 00:00 UTC"))
    return folder


@pytest.fixture(scope="module")
def text(written):
    return (written / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Elements(text)


def test_nothing_is_fetched_when_the_page_is_opened(page, text):
    assert all(a["src"].startswith("data:image/jpeg") for a in page.having("src"))
    links = [a["href"] for a in page.having("href")]
    assert {link[:5] for link in links} <= {"data:", *(x[:5] for x in links if x[0] == "#")}
    assert "url(http" not in text
    assert "@import" not in text
    assert "connect-src" not in text
    policy = page.having("http-equiv")[0]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_a_hostile_name_is_text_everywhere(page):
    assert page.having("onerror") == []


def test_every_anchor_of_the_contents_exists_and_no_id_stands_twice(page):
    ids = [a["id"] for a in page.having("id")]
    assert len(ids) == len(set(ids))
    anchors = {a["href"][1:] for a in page.having("href") if a["href"].startswith("#")}
    assert anchors - {"sources"} <= set(ids)


@pytest.mark.parametrize("key", ["overview", "results", "differences", "recall", "fields", "errors",
                                 "scores", "sure", "maps", "galleries", "method"])  # fmt: skip
def test_every_kind_of_evidence_has_its_section(page, key):
    assert key in [a.get("id") for name, a in page.found if name == "section"]


def test_every_pen_of_a_chart_or_a_table_has_its_colour_in_the_style_sheet(text):
    pens = set(re.findall(r'class="[^"]*?(pen-[a-z0-9-]+)', text))
    assert {"pen-0", "pen-1", "pen-ink", "pen-grid", "pen-muted", "pen-kind-0"} <= pens
    assert all(f".{pen} {{ color: var(--" in text for pen in pens)


def test_every_chart_says_in_words_what_it_shows(page):
    charts = [a for name, a in page.found if name == "svg" and a.get("role") == "img"]
    assert len(charts) >= 4 * 3 + 2
    assert all(a["aria-label"] for a in charts)


def test_galleries_show_the_query_and_two_tiles(page):
    cards = [a for _, a in page.found if a.get("class") == "card"]
    pictures = [a for name, a in page.found if name == "img"]
    assert len(cards) == 2 * 2 * 2 * 3 * 4  # towns, views, runs, kinds, cards
    assert len(pictures) == 3 * len(cards)


def test_every_table_tells_n_intervals_and_ties(text):
    assert text.count("n = 200; below each value its 95 % interval") == 4
    assert "better or equal" in text


def test_the_numbers_lie_beside_the_page(written):
    value = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert len(value["records"]) == 8
    assert {c["metric"] for c in value["comparisons"]} == {"R@1"}
    for name in ("results.csv", "significance.csv", "tables.tex"):
        assert (written / name).stat().st_size > 100


def test_the_same_records_give_the_same_page(tmp_path):
    for name in "ab":
        write_report([evaluation()], tmp_path / name, ReportFacts(title="t", created="now"))
    pages = [(tmp_path / name / "report.html").read_text(encoding="utf-8") for name in "ab"]
    assert pages[0] == pages[1]


def test_records_without_places_or_pictures_make_a_page_too(tmp_path):
    record = evaluation(root="nowhere")
    unknown = np.full_like(record.queries.truth_latlon, np.nan)
    record.queries.error_m[:] = np.nan
    record.queries.truth_latlon[:] = unknown
    page = write_report([record], tmp_path, ReportFacts(title="t", created="now")).read_text(
        encoding="utf-8"
    )
    assert 'id="maps"' not in page
    assert "The pictures are not where they were: nowhere." in page


def test_a_folder_without_records_says_how_to_make_one(tmp_path):
    with pytest.raises(BadData, match="crossview evaluate"):
        open_records([tmp_path])


def test_records_are_found_in_and_below_a_folder(tmp_path):
    evaluation("a").write(tmp_path / "sweep" / "a")
    evaluation("b").write(tmp_path / "sweep" / "b")
    assert [e.label for e in open_records([tmp_path])] == ["a", "b"]
    assert [e.label for e in open_records([tmp_path / "sweep" / "a"])] == ["a"]


def test_damaged_pictures_have_a_section_of_their_own(tmp_path):
    records = [evaluation(label, corruption=damage)
               for label in "ab" for damage in ("", "fog 1", "fog 3", "noise 5")]  # fmt: skip
    page = write_report(records, tmp_path, ReportFacts(title="t", created="now")).read_text(
        encoding="utf-8"
    )
    section = page[page.index('<section id="damage">') :].partition("</section>")[0]
    assert re.findall(r"<h4>(.*?)</h4>", section) == ["suburb, fog", "suburb, noise"]
    assert section.count("<tr>") == 1 + 3
    assert page.count('<h3 id="trial-') == 1


def test_on_a_benchmark_the_published_rows_and_their_sources_are_there(tmp_path):
    record = evaluation(
        data="cvusa:data", headings="aligned", k_at_1_percent=88, count=8884,
        model={"training_data": "cvusa:data"},
    )  # fmt: skip
    about = ReportFacts(title="t", created="now")
    page = write_report([record], tmp_path, about).read_text(encoding="utf-8")
    assert "GeoDTR+ paper, Table I (arXiv 2308.09624)" in page
    assert '<h3 id="sources">' in page
    folded = page[page.index("Other protocols, set apart: 51 rows") :]
    assert "trained on cvact" in folded


@needs_chromium
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
