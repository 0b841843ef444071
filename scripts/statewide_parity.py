"""The full statewide network against its authors' numbers: both encoders, heads, similarity.

    python scripts/statewide_parity.py ../shared/parity [tiny small full]

Weights are seeded, as the fixtures say; the published ones are not needed. It takes a minute and
3 GB of memory (full: two).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from crossview.methods import statewide


def main() -> int:  # noqa: PLR0915 - one comparison after the other
    """Print the largest differences; 1 where one is beyond its tolerance."""
    folder, cases = Path(sys.argv[1]), sys.argv[2:] or ["tiny", "small", "full"]
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.methods.test_statewide import fill, listed

    torch.set_num_threads(1)
    parity = np.load(folder / "statewide.npz")
    given = {key: fill(key, shape) for key, shape, _ in listed()}
    model = statewide.build(statewide.Config()).eval()
    model.load_state_dict(statewide.imported(given, statewide.Config()))
    worst = 0.0
    for case in cases:
        vectors = {}
        for side, theirs in (("ground", "pv"), ("aerial", "aerial")):
            images = draw(parity[f"{case}/{theirs}.image_seed_shape_block"])
            if int(images.sum(dtype=np.int64)) != int(parity[f"{case}/{theirs}.image_sum"]):
                raise SystemExit(f"the pictures of {case} are not those of the fixtures")
            pixels = torch.tensor(images).reshape(len(images), -1, *images.shape[-2:])
            x = pixels.permute(0, 3, 1, 2).float() / 255.0
            for axis, (mean, std) in enumerate(
                zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
            ):
                x[:, axis] = (x[:, axis] - mean) / std
            seen: dict[str, torch.Tensor] = {}
            encoder = model.get_submodule(f"{side}_encoder")
            for number, stage in enumerate(encoder.stages):
                stage.register_forward_hook(
                    lambda _m, _i, out, number=number, seen=seen: seen.update(
                        {f"Stage_{number}": out}
                    )
                )
            with torch.no_grad():
                unit = getattr(model, side)(x)
                pooled = model.get_submodule(f"{side}_head").pool(model.look(side, x))
            vectors[side] = 6.0 * unit.numpy()
            checks = [
                ("embedding", vectors[side], parity[f"{case}/{theirs}.embedding"], 2e-5),
                (
                    "head",
                    pooled.numpy(),
                    parity[f"{case}/{theirs}/{theirs}_decoder.output_not_normalised"],
                    2e-5,
                ),
            ]
            for name, out in seen.items():
                stem = f"{case}/{theirs}/{theirs}_encoder.{name}"
                ours = out.permute(0, 2, 3, 1)
                checks.append((name, ours[:1, :8, :8, :8].numpy(), parity[f"{stem}.first8"], 1e-5))
                statistics = parity[f"{stem}.mean_std_ramp_max"]
                values = ours.double().numpy()
                got = np.array([values.mean(), values.std()])
                off = np.abs(got - statistics[:2]) / np.maximum(1.0, np.abs(statistics[:2]))
                worst = max(worst, float(off.max()) / 1e-5)
                print(f"{case} {side} {name} mean, std: {off.max():.1e} of 1e-5")
            for name, ours, expected, allowed in checks:
                off = float(np.abs(ours - expected).max() / np.abs(expected).max())
                worst = max(worst, off / allowed)
                print(f"{case} {side} {name}: {off:.1e} of {allowed:g}")
        off = float(
            np.abs(vectors["ground"] @ vectors["aerial"].T - parity[f"{case}/similarity"]).max()
        )
        worst = max(worst, off / 1e-4)
        print(f"{case} similarity: {off:.1e} of 1e-4")
    print("within all tolerances" if worst <= 1.0 else "BEYOND a tolerance")
    return int(worst > 1.0)


def draw(numbers: np.ndarray) -> np.ndarray:
    """The fixtures' pictures, uint8 [B, (k,) H, W, 3]."""
    seed, *shape, block = numbers.tolist()
    rng = np.random.Generator(np.random.PCG64(seed))
    small = (*shape[:-3], shape[-3] // block, shape[-2] // block, shape[-1])
    coarse = rng.integers(0, 128, small, dtype=np.uint8)
    fine = rng.integers(0, 128, shape, dtype=np.uint8)
    return coarse.repeat(block, -3).repeat(block, -2) + fine


if __name__ == "__main__":
    raise SystemExit(main())
