"""Every data set by its name, through the door that the commands use."""

import codecs

import numpy as np
import pytest
from tests.datasets import twins

from crossview.catalogue import BENCHMARKS, benchmark, open_data
from crossview.errors import BadData, InvalidValue, UnknownName
from crossview.pairs.table import SIDES


def twin_of(name, root):
    if name.startswith("vigor"):
        return twins.vigor(root, corrected=name.endswith("corrected"))
    if name == "cvusa-cleaned":
        page = benchmark(name).page
        page.write_cleaned(twins.cvusa(root), "train", [0, 2])
        return root
    kinds = {"cvusa": twins.cvusa, "cvact": twins.cvact, "university-1652": twins.university}
    return next(make for kind, make in kinds.items() if name.startswith(kind))(root)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_name_opens_its_twin(tmp_path, name):
    data = open_data(f"{name}:{twin_of(name, tmp_path)}")
    assert {"train", "test"} <= set(data.tables)
    assert data.info["training_data"] == name
    assert data.info["synthetic"] is False
    assert data.differs  # a twin is smaller than what it imitates
    for table in data.tables.values():
        assert len(table) > 0
        for side in SIDES:
            files = getattr(table, side)
            assert all(path.is_file() for path in files)
            assert len(set(files)) == len(files)
            ids = table.ground_ids() if side == "ground" else table.aerial_ids()
            assert not any(name.startswith("/") for name in ids)
        asking = SIDES.index(table.queries)
        asked = np.unique(table.pairs[:, asking])
        assert len(asked) == len(getattr(table, table.queries))  # nobody asks in vain


@pytest.mark.parametrize("name", BENCHMARKS)
def test_system_files_are_ignored(tmp_path, name):
    root = twin_of(name, tmp_path)
    before = open_data(f"{name}:{root}").tables
    assert twins.littered(root) > 10
    after = open_data(f"{name}:{root}").tables
    assert before.keys() == after.keys()
    for split, table in before.items():
        assert table.ground_ids() == after[split].ground_ids()
        assert table.aerial_ids() == after[split].aerial_ids()
        assert table.pairs.tolist() == after[split].pairs.tolist()


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
@pytest.mark.parametrize("name", ["cvusa", "vigor-same", "vigor-cross"])
def test_official_lists_that_an_editor_saved_anew_are_the_same_lists(tmp_path, name, mark):
    root = twin_of(name, tmp_path)
    before = open_data(f"{name}:{root}").tables
    encoding = {2: "utf-16-le", 3: "utf-8"}[len(mark)]
    encoding = "utf-16-be" if mark == codecs.BOM_UTF16_BE else encoding
    for path in (*root.rglob("*.csv"), *root.rglob("*.txt")):
        text = path.read_text(encoding="utf-8").replace("\n", "\r\n")
        path.write_bytes(mark + text.encode(encoding))
    after = open_data(f"{name}:{root}").tables
    for split, table in before.items():
        assert table.ground_ids() == after[split].ground_ids()
        assert np.array_equal(table.ground_latlon, after[split].ground_latlon, equal_nan=True)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_layout_of_every_name_finds_its_twin(tmp_path, name):
    from crossview.pairs.checks import check_parts

    root = twin_of(name, tmp_path)
    states = [finding.state for finding in check_parts(root, benchmark(name).layout(root))]
    assert states
    assert "missing" not in states


def test_the_official_numbers_are_those_of_the_papers():
    def numbers(name, split):
        counts = benchmark(name).counts()[split]
        return counts.ground, counts.aerial

    assert numbers("cvusa", "train") == (35_532, 35_532)
    assert numbers("cvusa", "test") == (8_884, 8_884)
    assert numbers("cvusa-cleaned", "train") == (34_769, 34_769)
    assert numbers("cvact", "train") == (35_531, 35_531)
    assert numbers("cvact", "val") == (8_884, 8_884)
    assert numbers("cvact", "test") == (92_802, 92_802)
    assert numbers("vigor-same", "train") == (52_609, 90_618)
    assert numbers("vigor-same-corrected", "test") == (52_605, 90_618)
    assert numbers("vigor-cross", "train") == (51_520, 44_055)
    assert numbers("vigor-cross", "test") == (53_694, 46_563)


def test_a_name_without_a_folder_or_with_a_wrong_one_says_what_to_do(tmp_path):
    with pytest.raises(InvalidValue, match="--data cvusa:path/to/its/folder"):
        open_data("cvusa")
    with pytest.raises(BadData, match=r"No folder .*absent with vigor-same"):
        open_data(f"vigor-same:{tmp_path / 'absent'}")
    with pytest.raises(UnknownName, match="Did you mean 'vigor-same'"):
        open_data(f"vigor-sam:{tmp_path}")
