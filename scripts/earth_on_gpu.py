"""The parts of ``scripts/earth_on_gpu.sh``: render, train side by side, measure, gather.

``compare`` answers two questions with short trainings: which encoders to ship, and whether worlds
from orthophotos carry over to a country that no training saw. ``final`` makes the model to ship in
the stages of ``make model``. Both go on where they were stopped. With ``--device cpu`` they need no
GPU, only time.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossview.files import atomic_write

if TYPE_CHECKING:
    from crossview.model import Embedder

TOWN = "src/crossview/packaged_models/town"
LEFT_OUT = ("czechia", "united-states", "germany")
USUAL_KM2 = 8.0  # of which --pairs are rendered
SMALL = ("encoders=small", "height_px=48", "width_px=240", f"weights={TOWN}")
BOTH = ("encoders=both", f"weights={TOWN}")
KINDS = {
    "small": SMALL,
    "trunk-frozen": ("encoders=trunk", "trunk_rate=0"),
    "trunk-tuned": ("encoders=trunk", "trunk_rate=0.1"),
    "both-frozen": (*BOTH, "trunk_rate=0"),
    "both-tuned": (*BOTH, "trunk_rate=0.1"),
}
UNTRAINED = (
    *("encoders=trunk", "trunk_rate=0", "hidden=0", "trunk_rows=1", "whitened=24", "lr=1e-9"),
)


@dataclass(frozen=True)
class Training:
    """One run: its settings, where its pairs come from, and the country that it never sees."""

    kind: str  # of KINDS, or untrained
    sources: str  # towns, worlds or both
    without: str  # a country's folder

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.kind}-{self.sources}-{self.without}"


def list_trainings() -> list[Training]:
    """Those of both questions, the most telling first; a training that serves both stands once."""
    first = LEFT_OUT[0]
    encoders = [Training(kind, "both", first) for kind in KINDS]
    sources = [
        Training(kind, source, country)
        for country in LEFT_OUT
        for kind, source in (("small", "worlds"), ("small", "both"), ("both-tuned", "both"))
    ]
    alone = [Training("small", "towns", "none"), Training("untrained", "worlds", "none")]
    return list(dict.fromkeys([*encoders, *alone, *sources]))


def render(arguments: argparse.Namespace) -> None:
    """Towns, and the worlds of every country whose pictures are there, all at once."""
    from crossview.worlds.ortho_sets import find_file, list_sets, list_tiles

    work, counts = Path(arguments.work), {"towns": arguments.town_pairs}
    areas: Counter[str] = Counter()
    for tile in list_tiles():
        areas[slug(tile.source.country)] += tile.area_km2
    there = {
        one.name: find_file(Path(arguments.ortho), next(t for t in list_tiles() if t.source == one))
        for one in list_sets()
    }
    countries: dict[str, list[str]] = {}
    for one in list_sets():
        if there[one.name].is_file():
            countries.setdefault(slug(one.country), []).append(one.name)
    for name in countries:  # more of a larger country, but not in proportion
        counts[name] = round(arguments.pairs * (areas[name] / USUAL_KM2) ** 0.5)
    cores = os.cpu_count() or 1
    tasks = []
    for name, pairs in counts.items():
        if not (work / name / "pairs.made-by.txt").is_file():
            # twice as many processes as cores: countries of few large tiles end last
            share = max(2, round(2 * cores * pairs / sum(counts.values())))
            tasks.append([*own("render-one"), name, str(pairs), str(share), *folders(arguments)])
    run_side_by_side(tasks, len(tasks), work / "logs")
    for name in countries:
        write_sample(work / name, 500)


def render_one(arguments: argparse.Namespace) -> None:
    """The pairs of the towns, or of one country: so many, spread evenly over its tiles."""
    from crossview.worlds.ortho_pairs import OrthoPlan, open_orthophotos, render_ortho_pairs
    from crossview.worlds.ortho_sets import find_file, list_tiles
    from crossview.worlds.town_pairs import TownPlan, render_pairs

    root = Path(arguments.work) / arguments.name
    if arguments.name == "towns":
        per_style = max(2, arguments.count // 6)
        towns = max(1, round(per_style / 300))
        plan = TownPlan(
            towns_per_style=towns,
            pairs_per_town=per_style // towns,
            validation_pairs_per_style=50,
        )
        for _ in render_pairs(root, plan, arguments.workers):
            pass
        return
    ortho = Path(arguments.ortho)
    tiles = [
        tile
        for tile in list_tiles()
        if slug(tile.source.country) == arguments.name and find_file(ortho, tile).is_file()
    ]
    tiles = tiles[:: max(1, len(tiles) // max(1, arguments.count // 12))]
    each = max(6, round(arguments.count / len(tiles)))
    most = min(each, 150)
    skies, walls = (ortho / name for name in ("hdri_cc0", "textures_cc0"))
    worlds = OrthoPlan(
        least=most,
        most=most,
        skies=skies if skies.is_dir() else None,
        textures=walls if walls.is_dir() else None,
    )
    photos = open_orthophotos(ortho, tiles)
    what = f"{len(tiles)} orthophotos of {arguments.name}"
    for _ in render_ortho_pairs(root, photos, worlds, arguments.workers, what):
        pass


def write_sample(folder: Path, most: int) -> None:
    """``sample.csv``: some pairs of a country, in split test, to measure on."""
    rows = list(csv.DictReader((folder / "pairs.csv").read_text(encoding="utf-8").splitlines()))
    order = np.random.default_rng(0).permutation(len(rows))[:most]
    chosen = [{**rows[n], "split": "test"} for n in sorted(order)]
    lines = [",".join(chosen[0]), *(",".join(row.values()) for row in chosen)]
    atomic_write(folder / "sample.csv", "\n".join(lines) + "\n")


def list_countries(work: Path) -> list[str]:
    """Countries whose worlds are rendered."""
    return sorted(file.parent.name for file in work.glob("*/sample.csv"))


def train_command(
    training: Training, arguments: argparse.Namespace, steps: int, batch: int
) -> list[str]:
    """The command line of one short training."""
    work = Path(arguments.work)
    seen = [c for c in list_countries(work) if c != training.without]
    worlds = "pairs:" + ",".join(str(work / country / "pairs.csv") for country in seen)
    towns = f"pairs:{work / 'towns' / 'pairs.csv'}"
    data = {"towns": [towns], "worlds": [worlds], "both": [towns, worlds]}[training.sources]
    settings = UNTRAINED if training.kind == "untrained" else KINDS[training.kind]
    steps = 1 if training.kind == "untrained" else steps
    weights = [] if not arguments.trunk else [f"trunk_weights={arguments.trunk}"]
    options = [f"parts={len(data)}", f"warmup_steps={max(1, steps // 15)}", *settings, *weights]
    return [
        *(sys.executable, "-m", "crossview", "train", "--method", "compass", "--recipe", "earth"),
        *(part for one in data for part in ("--data", one)),
        *(part for one in options for part in ("--config", one)),
        *("--out", str(work / "runs" / training.name), "--steps", str(steps)),
        *("--batch", str(batch), "--val-share", "0", "--save-every", "100", "--threads", "1"),
        *("--device", arguments.device, "--workers", str(arguments.workers), "--quiet"),
        *("--cache", str(work / "cache")),
    ]


def compare(arguments: argparse.Namespace) -> None:
    """Train in waves until the minutes are over; measure every finished run; gather."""
    ends = time.monotonic() + 60.0 * arguments.minutes
    render(arguments)
    work = Path(arguments.work)
    print(f"rendered: {time.monotonic() - ends + 60 * arguments.minutes:.0f} s", flush=True)
    fill_caches(arguments, ("small", "both-tuned"))
    print(f"cached: {time.monotonic() - ends + 60 * arguments.minutes:.0f} s", flush=True)
    commands = []
    for training in list_trainings():
        run = work / "runs" / training.name
        wanted = any(part in training.name for part in arguments.only or [""])
        if wanted and not (run / "measured.json").is_file():
            line = train_command(training, arguments, arguments.steps, arguments.batch)
            after = [*own("measure"), str(run), *folders(arguments)]
            commands.append(["bash", "-c", f"{quote(line)} && {quote(after)}"])
    town = work / "runs" / "town"
    if not (town / "measured.json").is_file():
        town.mkdir(parents=True, exist_ok=True)
        commands.insert(0, [*own("measure"), str(town), *folders(arguments)])
    run_side_by_side(commands, arguments.together, work / "logs", ends)
    gather(arguments)


def fill_caches(arguments: argparse.Namespace, kinds: Sequence[str]) -> None:
    """Decode every picture once for the views of each kind, before trainings begin."""
    from crossview.catalogue import configure, open_data, recipe
    from crossview.pairs.cache import fill_cache
    from crossview.pairs.reading import Files

    work = Path(arguments.work)
    lists = [work / name / "pairs.csv" for name in ("towns", *list_countries(work))]
    for kind in kinds:
        settings = dict(setting.split("=", 1) for setting in KINDS[kind])
        page, config = configure("compass", {**recipe("compass", "earth"), **settings})
        for file in lists:
            for table in open_data(f"pairs:{file}").tables.values():
                views = page.load().views(config)
                for _ in fill_cache(work / "cache", Files(table, views), os.cpu_count() or 1):
                    pass


def measure(arguments: argparse.Namespace) -> None:
    """``measured.json`` of a run: what it finds where it was not trained, by the rule of adapt.

    That is towns that no training saw, and worlds of the country that was left out. A run that left
    none out is measured on every country, which it may have seen.
    """
    from crossview.adaptation import measure_pairs
    from crossview.catalogue import open_data

    run, work = Path(arguments.run), Path(arguments.work)
    embedder = open_embedder(run, arguments.device)
    measured = {}
    countries = list_countries(work)
    unseen = [country for country in countries if run.name.endswith(f"-{country}")] or countries
    for name in ("towns", *unseen):
        file = work / name / ("pairs.csv" if name == "towns" else "sample.csv")
        table = open_data(f"pairs:{file}").tables["val" if name == "towns" else "test"]
        measured[name] = measure_pairs(embedder, table).summarise()
    atomic_write(run / "measured.json", json.dumps(measured, indent=1) + "\n")


def open_embedder(run: Path, device: str) -> Embedder:
    """A run's network; "town" is the packaged one."""
    from crossview.catalogue import open_run
    from crossview.model import open_model
    from crossview.training.device import open_device
    from crossview.training.export import RunEmbedder

    if run.name == "town":
        return open_model(TOWN)
    opened = open_run(run)
    where = open_device(device)
    return RunEmbedder(opened.folder, opened.page, opened.config, opened.views, where)


def gather(arguments: argparse.Namespace) -> None:
    """One JSON of all that was measured, and how long steps took."""
    runs = {}
    for file in sorted(Path(arguments.work).glob("runs/*/measured.json")):
        entry = {"measured": json.loads(file.read_text())}
        log = file.parent / "log.jsonl"
        if log.is_file():
            steps = [
                line for line in map(json.loads, log.read_text().splitlines()) if "loss" in line
            ]
            late = steps[len(steps) // 2 :]
            entry |= {
                "steps": steps[-1]["step"],
                "loss": round(float(np.mean([s["loss"] for s in late])), 4),
                "seconds": round(float(np.median([s["seconds"] for s in late])), 4),
                "waited_s": round(float(np.median([s["waited_s"] for s in late])), 4),
            }
        runs[file.parent.name] = entry
    atomic_write(Path(arguments.out), json.dumps(runs, indent=1) + "\n")
    for name, entry in runs.items():
        cells = {
            place: round(100.0 * values["360 degrees, heading unknown"]["R@1"]["value"], 1)
            for place, values in entry["measured"].items()
        }
        print(f"{name}: {cells}", flush=True)


def final(arguments: argparse.Namespace) -> None:
    """The stages of ``make model``, each from the weights of the one before."""
    ends = time.monotonic() + 60.0 * arguments.minutes
    render(arguments)
    print(f"rendered: {time.monotonic() - ends + 60 * arguments.minutes:.0f} s", flush=True)
    fill_caches(arguments, (arguments.kind,))
    print(f"cached: {time.monotonic() - ends + 60 * arguments.minutes:.0f} s", flush=True)
    work = Path(arguments.work)
    training = Training(arguments.kind, "both", "none")
    line = train_command(training, arguments, arguments.steps, arguments.batch)
    run = work / "runs" / training.name
    line += [part for one in arguments.config for part in ("--config", one)]
    run_side_by_side([line], 1, work / "logs", ends - 30.0)
    run_side_by_side([[*own("measure"), str(run), *folders(arguments)]], 1, work / "logs")
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    halve(run / "model.safetensors", out / "earth.safetensors")
    for name in ("config.json", "info.json", "log.jsonl", "measured.json"):
        if (run / name).is_file():
            atomic_write(out / name, (run / name).read_bytes())


def halve(source: Path, target: Path) -> None:
    """The weights with floating numbers as float16."""
    from crossview.networks.weight_files import read_weights
    from crossview.training.train_state import save_weights

    tensors = read_weights(source).tensors
    halves = {name: v.half() if v.is_floating_point() else v for name, v in tensors.items()}
    save_weights(halves, target)


def run_side_by_side(
    commands: Sequence[Sequence[str]], together: int, logs: Path, ends: float = 0.0
) -> None:
    """Run commands, so many at once; those that run when time is over get SIGTERM."""
    logs.mkdir(parents=True, exist_ok=True)
    waiting, running = list(enumerate(commands)), {}
    while waiting or running:
        late = bool(ends) and time.monotonic() > ends
        while waiting and len(running) < together and not late:
            number, command = waiting.pop(0)
            log = (logs / f"{int(time.time())}-{number}.txt").open("w")
            running[number] = (
                subprocess.Popen(  # noqa: S603 - our own commands
                    command, stdout=log, stderr=log, start_new_session=True
                ),
                command,
                log.name,
            )
        for process, *_ in running.values() if late else ():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for number, (process, command, log_name) in list(running.items()):
            if late:
                process.wait()
            if process.poll() is not None:
                del running[number]
                if process.returncode:
                    tail = Path(log_name).read_text()[-1500:]
                    print(f"rc {process.returncode}: {' '.join(command)[:400]}\n{tail}", flush=True)
        if late:
            return
        time.sleep(0.2)


def own(verb: str) -> list[str]:
    """One of the verbs as a command of its own."""
    return [sys.executable, "-m", "scripts.earth_on_gpu", verb]


def folders(arguments: argparse.Namespace) -> list[str]:
    """The options that every verb has."""
    return [
        *("--work", arguments.work, "--ortho", arguments.ortho, "--device", arguments.device),
    ]


def quote(command: Sequence[str]) -> str:
    """A command line for a shell."""
    import shlex

    return shlex.join(command)


def slug(country: str) -> str:
    """A country as the name of a folder."""
    return country.lower().replace(" ", "-")


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("compare", "final", "render", "render-one", "measure", "gather"):
        verb = verbs.add_parser(name)
        if name == "render-one":
            verb.add_argument("name")
            verb.add_argument("count", type=int)
            verb.add_argument("workers", type=int)
        if name == "measure":
            verb.add_argument("run")
        verb.add_argument("--work", default="runs/earth-on-gpu")
        verb.add_argument("--ortho", default="../shared/data/ortho")
        verb.add_argument("--device", default="cuda")
        if name in ("render-one", "measure"):
            continue
        verb.add_argument("--out", default="earth-on-gpu.json")
        verb.add_argument("--minutes", type=float, default=9.0)
        verb.add_argument("--pairs", type=int, default=1500, help="of each country")
        verb.add_argument("--town-pairs", type=int, default=3600)
        verb.add_argument("--steps", type=int, default=400)
        verb.add_argument("--batch", type=int, default=96)
        verb.add_argument("--together", type=int, default=5, help="trainings at once")
        verb.add_argument("--workers", type=int, default=3, help="loading processes of each")
        verb.add_argument(
            *("--only",), action="append", default=[],
            help="trainings whose names hold this, such as small; may be given several times",
        )  # fmt: skip
        verb.add_argument("--trunk", default="", help="file of the trunk's weights")
        verb.add_argument("--kind", default="both-tuned", choices=KINDS, help="of final")
        verb.add_argument("--config", action="append", default=[], help="more settings of final")
    return parser.parse_args()


VERBS = {
    **{"compare": compare, "final": final, "render": render, "render-one": render_one},
    **{"measure": measure, "gather": gather},
}

if __name__ == "__main__":
    given = read_arguments()
    VERBS[given.verb](given)
