"""One thread per test process, no network, the same examples in every run, no shell settings."""

import gc
import os
import signal

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before numpy and torch read them
os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a network or takes weights from one
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts what is sent to the background like this, and all that is
    # started from here would be deaf, too: what is ended by Ctrl-C in a test would never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import settings
from tests.onnx_functions import keep_onnx_functions
from tests.preloaded_workers import preloaded
from tests.skips import told_skips
from tests.toy_model import toy_packaged_models

# Real servers and engines, installed and asked by `make test-services` and `make test-engines`.
collect_ignore = ["services", "engines"]

settings.register_profile("same", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("same")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """No garbage is looked for among a million objects of modules: not while they are imported,
    which takes a third of the time of it, and not later, at a second for every look.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for variable in ("CROSSVIEW_DEBUG", "COLUMNS", "FORCE_COLOR", "PYTHONIOENCODING"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CROSSVIEW_CONFIG", os.devnull)


@pytest.fixture(autouse=True)
def _onnx_functions_are_kept():
    keep_onnx_functions()


@pytest.fixture
def preloaded_workers():
    """Workers of this process begin with everything imported."""
    with preloaded():
        yield


@pytest.fixture
def packaged_models(tmp_path, monkeypatch):
    """The folder of packaged models as a package has them: a town's and one of Earth, both toys."""
    folder = toy_packaged_models(tmp_path / "packaged")
    monkeypatch.setattr("crossview.model.PACKAGED_FOLDER", folder)
    return folder


def pytest_terminal_summary(terminalreporter):
    if lines := told_skips(terminalreporter.stats.get("skipped", [])):
        terminalreporter.section("skipped")
        for line in lines:
            terminalreporter.line(line)
