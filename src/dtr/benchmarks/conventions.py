"""What the paper leaves open in its metrics, measured: our reading against the other one, on the cached embedded policy.

    correlation   Spearman's, between the blocks' scores of both readings
    half, nine    |K and K'| / |K|, of the component's live blocks kept when half of these go, and by Drop-9, which takes the dead ones
                  first (where there are more than nine blocks)

Policies and frames are those of `artifacts/embedded` (`dtr store pull`): 64 frames of `embedded_goal`, seed 0, batches of 8.
docs/metrics.md has the table; what each other reading is stands below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from dtr.importance.calibration import Calibration
    from dtr.policies.base import Policy

FOLDER, POLICIES = Path("artifacts/embedded"), ("openvla_oft", "pi05")
DATA = FOLDER / "demos/embedded_goal"
SAMPLES, BATCH, DROP = 64, 8, 9
COMPONENTS = ("vision", "language")
PROBES = 2
"""Of each sample, for the Hessian's trace: as many again are what they are compared with."""
WARMED = {"pi0.5's recipe": (5e-5, 10_000), "the embedded recipes": (1e-3, 100)}
"""Rate, and steps of linear warm-up, of what IGIA's steps are the first of."""
Scores = Mapping[str, float]


def measure(quick: bool = False) -> dict[str, Any]:
    """Policy -> component -> reading -> correlation and overlaps. Raises MissingAssets without the cached policies."""
    from dtr.data.pictures import read_data
    from dtr.errors import MissingAssets
    from dtr.importance.calibration import drawn
    from dtr.policies.file import load_policy
    from dtr.workflow.paths import PICTURES

    files = {name: FOLDER / name / "pretrained.safetensors" for name in POLICIES}
    for path in (DATA, *files.values()):
        if not path.exists():
            raise MissingAssets(f"expected the cached {path}, but it is not there: bring it with `dtr store pull`.")
    found = {}
    for name, path in files.items():
        loaded = load_policy(path)
        data = read_data([DATA], loaded.processor.image_size, Path(PICTURES.format(scale="embedded")))
        print(f"{name}:", flush=True)
        found[name] = effects(loaded.policy, drawn(loaded.policy, loaded.processor, data, 16 if quick else SAMPLES, 0, BATCH))
    return found


def effects(policy: Policy, calibration: Calibration) -> dict[str, Any]:
    """The table."""
    from scipy.stats import spearmanr

    from dtr.dropping.scores import least_important

    result: dict[str, Any] = {}
    for reading, ours, other in compared(policy, calibration):
        for component in COMPONENTS:
            names = [name for name in ours if name.startswith(component) and name not in policy.dead]
            mine, theirs = least_important(names, ours), least_important(names, other)
            correlation = float(spearmanr([ours[name] for name in names], [other[name] for name in names]).statistic)
            row = {"correlation": round(correlation, 3), "half": round(kept_alike(mine, theirs, len(names) // 2), 3)}
            every = [name for name in ours if name.startswith(component)]
            if len(every) > DROP:
                row["nine"] = round(kept_alike(mine, theirs, DROP - len(every) + len(names)), 3)
            result.setdefault(component, {})[reading] = row
            print(f"{reading}: {component} {', '.join(f'{key} {value}' for key, value in row.items())}", flush=True)
    return result


def kept_alike(ours: Sequence[str], other: Sequence[str], k: int) -> float:
    """Share of the blocks kept by one order, least important first, that the other keeps too, when k go."""
    return len(set(ours[k:]) & set(other[k:])) / len(ours[k:])


def compared(policy: Policy, calibration: Calibration) -> Iterator[tuple[str, Scores, Scores]]:
    """Reading, our scores, the others."""
    yield from from_one_pass(policy, calibration)
    yield from apart(policy, calibration)


def from_one_pass(policy: Policy, calibration: Calibration) -> Iterator[tuple[str, Scores, Scores]]:
    """Readings that differ in what is read of the shared pass."""
    import torch

    from dtr.importance.cossim import TINY, by_sample, cossim
    from dtr.importance.fisher import fisher
    from dtr.importance.gateprobe import SIGNED, gateprobe
    from dtr.importance.shared_pass import Gates, Reader, read_all
    from dtr.importance.taylor import taylor

    def flat(gates: Gates, samples: int, valid: Tensor | None) -> dict[str, Tensor]:
        found = {name: torch.zeros(samples, dtype=torch.float64) for name in gates}
        for name, gate in gates.items():
            if gate.h_in is not None and gate.h_out is not None:
                a, b = (by_sample(h, samples).flatten(1) for h in (gate.h_in, gate.h_out))
                found[name] = 1 - torch.cosine_similarity(a, b, dim=1, eps=TINY)
        return found

    def batched(G: Tensor) -> Tensor:
        return G.mean(0, keepdim=True).expand_as(G)

    readers = [
        *(gateprobe, SIGNED, taylor, fisher, cossim),
        Reader("taylor a batch", True, matrix=lambda G, W: (batched(G) * W).abs().sum((1, 2))),
        Reader("taylor a block", True, matrix=lambda G, W: (G * W).sum((1, 2))),
        Reader("fisher a batch", True, matrix=lambda G, W: batched(G).square().sum((1, 2))),
        Reader("fisher weighted", True, matrix=lambda G, W: (G * W).square().sum((1, 2))),
        Reader("cossim flat", False, gates=flat),
    ]
    values = read_all(policy, calibration, readers)

    def mean(name: str) -> Scores:
        return {block: value.mean().item() for block, value in values[name].items()}

    signed = values[SIGNED.name]
    yield (
        "GateProbe: |mean over a batch of 8|",
        mean("gateprobe"),
        {b: v.unflatten(0, (-1, BATCH)).mean(1).abs().mean().item() for b, v in signed.items()},
    )
    yield "GateProbe: |mean over all samples|", mean("gateprobe"), {b: v.mean().abs().item() for b, v in signed.items()}
    yield "Taylor: |mean over a batch of 8| per weight", mean("taylor"), mean("taylor a batch")
    yield (
        "Taylor: |sum over the block's weights| per sample",
        mean("taylor"),
        {b: v.abs().mean().item() for b, v in values["taylor a block"].items()},
    )
    yield "Fisher: squared per batch of 8", mean("fisher"), mean("fisher a batch")
    yield "Fisher: weighted by W^2", mean("fisher"), mean("fisher weighted")
    yield "CosSim: of all tokens as one vector", mean("cossim"), mean("cossim flat")


def apart(policy: Policy, calibration: Calibration) -> Iterator[tuple[str, Scores, Scores]]:
    """Readings of the metrics that have a computation of their own."""
    import torch

    from dtr.importance.calibration import Calibration
    from dtr.importance.hessian import hessian
    from dtr.importance.igia import LR, first_steps, igia
    from dtr.importance.leave_one_out import leave_one_out
    from dtr.importance.magnitude import magnitude
    from dtr.importance.shared_pass import chosen_layers
    from dtr.importance.sleb import sleb

    def means(values: Mapping[str, Tensor]) -> dict[str, float]:
        return {name: value.mean().item() for name, value in values.items()}

    layers = chosen_layers(policy, None)
    sizes = means(magnitude(policy, calibration))
    yield "Magnitude: L2 norm", sizes, {b: sum(layer.weight.square().sum().item() for layer in found) ** 0.5 for b, found in layers.items()}

    pulls = means(igia(policy, calibration))
    for reading, lr, warmup in (
        ("IGIA: gradients summed, then absolute", LR, 0),
        *((f"IGIA: absolute, at {times} times the rate", times * LR, 0) for times in (0.3, 3, 20)),
        ("IGIA: absolute, at a rate that rises over its own steps", LR, calibration.samples // BATCH),
        *((f"IGIA: absolute, at the rate and warm-up of {whose}", *recipe) for whose, recipe in WARMED.items()),
    ):
        total: dict[Any, Tensor] = {layer: torch.zeros_like(layer.weight) for found in layers.values() for layer in found}
        for _ in first_steps(policy, calibration, lr, warmup):
            for layer, summed in total.items():
                if layer.weight.grad is not None:
                    summed += layer.weight.grad if "summed" in reading else layer.weight.grad.abs()
        yield reading, pulls, {b: sum(total[layer].abs().sum().item() for layer in found) for b, found in layers.items()}

    probed = (Calibration(partial(reseeded, calibration, k), calibration.samples) for k in range(2 * PROBES))
    traces = [means(hessian(policy, each)) for each in probed]
    curved = traces[0]
    yield "Hessian: |trace|", curved, {b: abs(value) for b, value in curved.items()}
    yield "Hessian: other probes", curved, traces[1]
    first, second = ({b: sum(trace[b] for trace in some) / PROBES for b in curved} for some in (traces[:PROBES], traces[PROBES:]))
    yield f"Hessian: {PROBES} probes a sample", curved, first
    yield f"Hessian: {PROBES} other probes instead of {PROBES}", first, second
    yield "PPL: greedily (SLEB)", means(leave_one_out(policy, calibration, COMPONENTS)), means(sleb(policy, calibration, COMPONENTS))


def reseeded(calibration: Calibration, k: int) -> Iterator[dict[str, Tensor]]:
    """The same samples with the k-th other seeds; 0: their own."""
    return ({**batch, "seed": batch["seed"] + k * 1_000_003} for batch in calibration.batches())
