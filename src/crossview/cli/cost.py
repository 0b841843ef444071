"""``crossview cost``: parameters, multiply-adds, time and memory of a method's network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console

if TYPE_CHECKING:
    from crossview.training.cost import Cost


def cost(
    method: Annotated[str, typer.Argument(help="Name of a method, or a page: ./mine.py")],
    config: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's Config; repeatable.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Published settings, such as cvusa or vigor.")] = "",
    time: Annotated[
        bool, typer.Option("--time/--no-time", help="Also embed five pairs with random weights.")
    ] = True,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count what one pair of pictures costs a method's network, with and without its heads.

    Multiply-adds are named as such; many papers call them FLOPs.
    """
    import torch

    from crossview.training.cost import count_cost as count
    from crossview.training.session import build_without_weights

    if threads:
        torch.set_num_threads(threads)
    _, page, settings = console.open_method(method, recipe, config)
    published: Mapping[str, Any] = getattr(page, "COST", {})
    model = build_without_weights(page, settings)
    views = page.views(settings)
    timing = _measure_time(model, views) if time else {}
    costs = count(model, views)
    if as_json:
        console.print_result(json.dumps(_make_record(costs, timing, published), indent=2))
    else:
        _print_cost(costs, timing, published)


def _measure_time(model: Any, views: Any) -> dict[str, float]:
    import torch

    from crossview.training.cost import seconds_per_pair
    from crossview.training.device import is_fast_in_bfloat16, peak_memory_mb

    timing = {"ms_per_pair": 1000 * seconds_per_pair(model, views, amp=False)}
    if is_fast_in_bfloat16(torch.device("cpu")):
        timing["ms_per_pair_bfloat16"] = 1000 * seconds_per_pair(model, views, amp=True)
    timing["peak_memory_mb"] = peak_memory_mb(torch.device("cpu"))
    timing["threads"] = torch.get_num_threads()
    return timing


def _make_record(
    costs: Cost, timing: dict[str, float], published: Mapping[str, Any]
) -> dict[str, Any]:
    totals = ("parameters", "macs", "trunk_parameters", "trunk_macs")
    record = {**asdict(costs), **{name: getattr(costs, name) for name in totals}, **timing}
    if published:
        record["published"] = {
            "parameters": published["parameters_m"] * 1e6,
            "ms_per_pair": published.get("ms_per_pair"),
            "macs": published["macs_g"] * 1e9,
        }
    return record


def _print_cost(costs: Cost, timing: dict[str, float], published: Mapping[str, Any]) -> None:
    for side in (costs.ground, costs.aerial):
        console.print_result(
            f"{side.side:7} {side.width_px} x {side.height_px}: {side.parameters / 1e6:.2f} M "
            f"parameters, {side.macs / 1e9:.2f} G multiply-adds"
            + _format_trunk(side.trunk_parameters, side.trunk_macs)
        )
    console.print_result(
        f"pair: {costs.parameters / 1e6:.2f} M parameters, {costs.macs / 1e9:.2f} G multiply-adds"
        f"{_format_trunk(costs.trunk_parameters, costs.trunk_macs)}"
    )
    if timing:
        half = timing.get("ms_per_pair_bfloat16")
        console.print_result(
            f"here: {timing['ms_per_pair']:.0f} ms a pair"
            + (f", {half:.0f} ms in bfloat16" if half else "")
            + f", {timing['threads']:g} threads; peak memory {timing['peak_memory_mb']:.0f} MB"
        )
    if published:
        console.print_result(
            f"published ({published['source']}): {published['parameters_m']} M, "
            + (f"{published['ms_per_pair']:g} ms, " if "ms_per_pair" in published else "")
            + f"{published['macs_g']} G multiply-adds, printed there as GFLOPS"
        )


def _format_trunk(parameters: int, macs: int) -> str:
    if not macs:
        return ""
    return f" (backbone alone: {parameters / 1e6:.2f} M, {macs / 1e9:.2f} G)"
