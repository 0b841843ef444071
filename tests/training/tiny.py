"""A page that trains in milliseconds, as a file outside the package."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.tiny_pairs import write_pairs

from crossview.catalogue import make_config, open_data
from crossview.pairs.page_ref import PageRef
from crossview.training.session import Request, Session, fit, prepare, start_state

PAGE = Path(__file__).parents[2] / "docs" / "examples" / "mine.py"
SMALL = {"width": 4, "aerial_px": 16, "ground_px": (8, 32), "batch": 4, "steps": 8}


def request(folder: Path, *, out: str = "run", places: int = 24, **settings) -> Request:
    config = {name: settings.pop(name) for name in list(settings) if name in CONFIG_NAMES}
    csv = folder / "data" / "pairs.csv"
    if not csv.is_file():
        write_pairs(csv.parent, places)
    page = PageRef.of_file(PAGE)
    data = open_data(f"pairs:{csv}")
    known = {"device": "cpu", "workers": 0, "val_share": 0.0, "save_every": 3} | settings
    return Request(
        method="./mine.py",
        page=page,
        config=make_config(page.load(), SMALL | config),
        data=data.name,
        tables=data.tables,
        info=data.info,
        out=folder / out,
        **known,
    )


CONFIG_NAMES = set(PageRef.of_file(PAGE).load().Config.__dataclass_fields__)


def trained(request: Request, stop_after: int | None = None) -> tuple[Session, list]:
    """Run ``fit``; leave it abruptly after some steps, as a kill would."""
    session = prepare(request)
    reports = []
    for report in fit(session, start_state(session)):
        reports.append(report)
        if stop_after and len(reports) == stop_after:
            break
    return session, reports


def command(request: Request, *more: str) -> list[str]:
    """The same training as a command line."""
    values = [
        f"--config={name}={list(v) if isinstance(v, tuple) else v}" for name, v in SMALL.items()
    ]
    return [
        sys.executable, "-m", "crossview", "train", "--method", str(PAGE), "--data", request.data,
        "--out", str(request.out), "--device", "cpu", "--val-share", "0", *values, *more,
    ]  # fmt: skip
