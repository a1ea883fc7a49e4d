"""Metrics of weights against loops over samples, layers and weights, in all four policies; and which weights they are."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from four_policies import NAMES, batch, made

from dtr.importance.calibration import Calibration, each_alone
from dtr.importance.hessian import curvatures, hessian, probes, second_order
from dtr.importance.igia import LR, first_steps, igia
from dtr.importance.metrics import FUNCTIONS, TOGETHER, evaluate
from dtr.importance.shared_pass import chosen_layers
from dtr.policies.base import Batch, Policy
from dtr.policies.parts import GRANULARITIES
from dtr.policies.registry import skeleton


def doubled(name: str) -> tuple[Policy, Batch]:
    given = {key: t.double() if t.is_floating_point() else t for key, t in batch(name).items()}
    return made(name).double(), given


def owned(policy: Policy, gate: str) -> list[str]:
    """The matrices that a drop of this block or part deletes: the definition, block by block."""
    words = gate.split(".")
    granularity = words.pop() if words[-1] in GRANULARITIES else "block"
    smaller = skeleton(policy.name, policy.config)
    before = matrices_of(smaller)
    smaller.drop({".".join(words[:-1]): [int(words[-1])]}, granularity)
    return sorted(before - matrices_of(smaller))


def matrices_of(policy: nn.Module) -> set[str]:
    return {f"{name}.weight" for name, module in policy.named_modules() if isinstance(module, nn.Linear)}


@pytest.mark.parametrize("name", NAMES)
def test_a_block_has_the_matrices_that_its_drop_deletes(name: str) -> None:
    policy = made(name)
    layers, names = chosen_layers(policy, None, GRANULARITIES), {id(p): n for n, p in policy.named_parameters()}
    assert list(layers) == [gate for granularity in GRANULARITIES for gate in policy.gates(granularity)]
    assert {name for found in layers.values() for name in (names[id(layer.weight)] for layer in found)} <= matrices_of(policy)
    for gate, found in ((gate, found) for gate, found in layers.items() if any(f".{i}" in gate for i in (1, 5))):
        assert sorted(names[id(layer.weight)] for layer in found) == owned(policy, gate), gate


def test_a_source_that_somebody_else_reads_stays() -> None:
    """In joint attention W_k and W_v of a language layer go with its attention only where the expert does not attend."""
    policy = made("pi05")
    policy.drop({"action": [2]})
    layers = chosen_layers(policy, ["language"], GRANULARITIES)
    assert len(layers["language.1"]) + 2 == len(layers["language.2"]) and len(layers["language.2.attention"]) == 4
    assert len(layers["language.1.mlp"]) == len(layers["language.2.mlp"]) == 3


@pytest.mark.parametrize("name", NAMES)
def test_taylor_and_fisher_are_loops(name: str) -> None:
    """Sample by sample through autograd, matrix by matrix; float32 inside the flow policies' norms bounds the agreement."""
    policy, given = doubled(name)
    values = evaluate(policy, Calibration.of([given]), ["taylor", "fisher"], None, GRANULARITIES)
    parameters = dict(policy.named_parameters())
    gates = ("language.0", "language.3", "language.3.attention", "language.3.mlp", "action.1", next(iter(policy.gates())))
    looked_at = {gate: [parameters[one] for one in owned(policy, gate)] for gate in gates}
    for b, alone in enumerate(each_alone(given)):
        policy.zero_grad()
        policy.losses(alone).sum().backward()
        for gate, matrices in looked_at.items():
            salience = sum((p * p.grad).abs().sum().item() for p in matrices if p.grad is not None)
            information = sum(p.grad.square().sum().item() for p in matrices if p.grad is not None)
            assert values["taylor"][gate][b].item() == pytest.approx(salience, rel=1e-6)
            assert values["fisher"][gate][b].item() == pytest.approx(information, rel=1e-6)


def test_hessian_is_a_difference_of_gradients() -> None:
    """v'Hv by exact double backward, against (g(W + e v) - g(W - e v)) v / 2e for all matrices at once."""
    policy, given = doubled("openvla_oft")
    layers = chosen_layers(policy, ["language", "action"])
    once = {layer: str(i) for i, layer in enumerate(dict.fromkeys(layer for found in layers.values() for layer in found))}
    alone, v, step = next(each_alone(given)), probes(once, 5), 1e-5
    with second_order(policy, once):
        exact = curvatures(policy, alone, list(once), v)
    assert all(p.requires_grad for p in policy.parameters())
    sides: list[list[Tensor | None]] = []
    for sign in (1, -1):
        with torch.no_grad():
            for layer in once:
                layer.weight.add_(v[layer], alpha=sign * step)
        sides.append(list(torch.autograd.grad(policy.losses(alone).sum(), [layer.weight for layer in once], allow_unused=True)))
        with torch.no_grad():
            for layer in once:
                layer.weight.add_(v[layer], alpha=-sign * step)
    scale = max(abs(value.item()) for value in exact.values())
    for layer, above, below in zip(once, *sides, strict=True):
        if above is None or below is None:
            assert exact[layer] == 0
            continue
        naive = ((above - below) * v[layer]).sum().item() / (2 * step)
        assert exact[layer].item() == pytest.approx(naive, rel=1e-4, abs=1e-6 * scale)


class Toy(nn.Module):
    """Two small layers and a loss with curvature."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 4, bias=False).double(), nn.Linear(4, 2, bias=False).double()

    def losses(self, given: Batch) -> Tensor:
        y: Tensor = self.second(torch.tanh(self.first(given["x"]))).square().sum(dim=1)
        return y


def test_hutchinson_estimates_the_trace() -> None:
    toy, given, n = Toy(), {"x": torch.randn(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))}, 400
    layers = {toy.first: "first", toy.second: "second"}
    with second_order(toy, layers):  # type: ignore[arg-type]
        drawn = [curvatures(toy, given, list(layers), probes(layers, seed)) for seed in range(n)]  # type: ignore[arg-type]
    for layer, name in layers.items():

        def loss(weight: Tensor, name: str = name) -> Tensor:
            return torch.func.functional_call(toy, {f"{name}.weight": weight}, (given,)).sum()  # type: ignore[no-any-return]

        toy.forward = toy.losses  # type: ignore[method-assign]
        size = layer.weight.numel()
        trace = torch.autograd.functional.hessian(loss, layer.weight.detach()).reshape(size, size).trace().item()
        values = torch.stack([one[layer] for one in drawn])
        assert abs(values.mean().item() - trace) < 4 * values.std().item() / n**0.5
        assert abs(trace) > 8 * values.std().item() / n**0.5, "the estimate must be able to fail"


def test_a_sample_has_one_probe_whatever_its_batch() -> None:
    policy, given = doubled("openvla_oft")
    given["seed"] = torch.tensor([3, 1, 4, 1])
    whole = hessian(policy, Calibration.of([given]), ["action"])
    split = hessian(policy, Calibration.of([{k: t[:1] for k, t in given.items()}, {k: t[1:] for k, t in given.items()}]), ["action"])
    assert list(whole) == ["action.0", "action.1"]
    for name in whole:
        torch.testing.assert_close(whole[name], split[name], rtol=1e-9, atol=1e-12)
        assert whole[name].unique().numel() == 4


def test_igia_is_training() -> None:
    policy, given = made("openvla_oft"), batch("openvla_oft")
    halves = [{k: t[:2] for k, t in given.items()}, {k: t[2:] for k, t in given.items()}] * 2
    kept = copy.deepcopy(policy.state_dict())
    pulls = igia(policy, Calibration.of(halves), ["language", "vision"], GRANULARITIES)
    assert all(torch.equal(now, kept[name]) for name, now in policy.state_dict().items()), "the policy is put back bit for bit"
    assert all(p.grad is None and p.requires_grad for p in policy.parameters())
    trained = made("openvla_oft")
    optimiser = torch.optim.AdamW(trained.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
    looked_at = {gate: owned(policy, gate) for gate in ("language.2", "language.5.mlp", "vision.dino.0.attention")}
    for s, half in enumerate(halves):
        optimiser.zero_grad()
        trained.losses(half).mean().backward()
        for gate, mine in looked_at.items():
            matrices = [p for name, p in trained.named_parameters() if name in mine]
            naive = sum(p.grad.abs().sum().item() for p in matrices if p.grad is not None)
            assert pulls[gate][s].item() == pytest.approx(naive, rel=1e-4)
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimiser.step()


@pytest.mark.parametrize(("warmup", "share"), [(0, 1.0), (4, 0.25)])
def test_igia_has_no_warm_up_unless_it_is_asked_for(warmup: int, share: float) -> None:
    """AdamW's first step moves a weight by its rate, whatever the gradient."""
    policy = made("openvla_oft")
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    steps = first_steps(policy, Calibration.of([batch("openvla_oft")] * 2), 1e-3, warmup)
    assert [next(steps), next(steps)] == [4, 4]
    moved = max((p.detach() - before[name]).abs().max().item() for name, p in policy.named_parameters())
    steps.close()
    assert moved == pytest.approx(share * 1e-3, rel=1e-2)


def test_magnitude_and_random() -> None:
    policy, none = made("lingbot_vla"), Calibration.of([], seed=3)
    sizes, draws = (evaluate(policy, none, [metric], None, GRANULARITIES)[metric] for metric in ("magnitude", "random"))
    parameters = dict(policy.named_parameters())
    for gate in ("vision.2", "language.5", "action.3.attention"):
        assert sizes[gate].item() == pytest.approx(sum(parameters[name].abs().sum().item() for name in owned(policy, gate)), rel=1e-5)
    assert len({value.item() for value in draws.values()}) == len(draws) and all(0 <= value < 1 for value in draws.values())
    policy.drop({"language": [1]})
    assert FUNCTIONS["random"](policy, none, ["language"], ("block",))["language.4"] == draws["language.4"]
    assert FUNCTIONS["random"](policy, Calibration.of([], seed=4), ["language"], ("block",))["language.4"] != draws["language.4"]


@pytest.mark.parametrize("name", NAMES)
def test_one_pass_gives_what_each_gives_alone_and_dead_is_zero(name: str) -> None:
    """Bit for bit; and what every metric says of a dead block and of no other."""
    policy, given = made(name), batch(name)
    calibration = Calibration.of([given])
    together = evaluate(policy, calibration, TOGETHER, None, GRANULARITIES)
    for metric in TOGETHER:
        blocks = FUNCTIONS[metric](policy, calibration, None, ("block",))
        assert all(torch.equal(value, together[metric][gate]) for gate, value in blocks.items()), metric
        zero = {gate for gate, value in together[metric].items() if bool((value == 0).all())}
        assert zero == (set() if metric in ("magnitude", "random") else policy.dead), metric
    apart = {metric: FUNCTIONS[metric](policy, calibration, ["language"], ("block",)) for metric in ("igia", "hessian", "leave_one_out")}
    for metric, values in apart.items():
        assert {gate for gate, value in values.items() if bool((value == 0).all())} == {g for g in values if g in policy.dead}, metric
    assert all(p.grad is None for p in policy.parameters()) and not any(gate.watched for gate in policy.gates().values())
