import shutil
import threading
import time
from dataclasses import fields, replace

import numpy as np
import pytest
from tests.evaluation.made import made_evaluation

from crossview.errors import BadData
from crossview.evaluation.evaluation_record import Evaluation, read_all
from crossview.locks import lock


def test_a_record_reads_back_as_it_was_written(tmp_path):
    record = made_evaluation()
    record.write(tmp_path / "sweep" / "90")
    back = Evaluation.read(tmp_path / "sweep" / "90")
    assert back.protocol == record.protocol
    assert back.figures == record.figures
    assert (back.label, back.seeds, back.model) == (record.label, record.seeds, record.model)
    for table in ("queries", "references"):
        for field in fields(getattr(record, table)):
            ours, theirs = (getattr(getattr(r, table), field.name) for r in (record, back))
            np.testing.assert_array_equal(ours, theirs)
            assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None)


def test_what_is_unknown_stays_unknown(tmp_path):
    figure = replace(made_evaluation().figures[0], low=float("nan"), high=float("nan"))
    made_evaluation(figures=(figure,)).write(tmp_path)
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()
    assert np.isnan(Evaluation.read(tmp_path).figure("R@1").low)
    assert Evaluation.read(tmp_path).figure("R@7") is None


def test_a_sweep_is_a_folder_of_records(tmp_path):
    for fov in ("70", "360"):
        made_evaluation(label=fov).write(tmp_path / f"fov-{fov}")
    assert [record.label for record in read_all(tmp_path)] == ["360", "70"]
    assert [record.label for record in read_all(tmp_path / "fov-70")] == ["70"]
    shutil.copytree(tmp_path / "fov-70", tmp_path / "#recycle" / "old")
    assert len(read_all(tmp_path)) == 2


def test_what_is_no_record_is_told(tmp_path):
    with pytest.raises(BadData, match="crossview evaluate RUN"):
        read_all(tmp_path)
    made_evaluation().write(tmp_path)
    (tmp_path / "queries.npz").write_bytes(b"PK")
    with pytest.raises(BadData, match=r"queries\.npz cannot be read"):
        Evaluation.read(tmp_path)
    (tmp_path / "evaluation.json").write_text('{"format": 99}')
    with pytest.raises(BadData, match="no evaluation of format 1"):
        Evaluation.read(tmp_path)
    (tmp_path / "evaluation.json").write_text('{"format": 1}')
    with pytest.raises(BadData, match="no whole record"):
        Evaluation.read(tmp_path)


def test_a_record_that_another_process_writes_is_waited_for_and_then_written_whole(tmp_path):
    have = threading.Event()

    def hold():
        with lock(tmp_path / "record", "crossview evaluate"):
            have.set()
            time.sleep(0.3)
            made_evaluation(label="first").write(tmp_path / "record")

    other = threading.Thread(target=hold)
    other.start()
    have.wait()
    made_evaluation(label="second").write(tmp_path / "record")
    other.join()
    assert Evaluation.read(tmp_path / "record").label == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["record"]


def test_a_record_is_exchanged_as_a_whole(tmp_path):
    made_evaluation().write(tmp_path / "record")
    folder = (tmp_path / "record").stat().st_ino
    made_evaluation().write(tmp_path / "record")
    assert (tmp_path / "record").stat().st_ino != folder
