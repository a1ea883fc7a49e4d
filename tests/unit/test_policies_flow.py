"""Flow-matching policies: full sizes, padding, noise, what a drop leaves, and what the config says of it."""

from __future__ import annotations

import four_policies
import pytest
import torch
from narrow_flow import FULL, batch, made, narrow

from dtr.cost import measure
from dtr.dropping.plan import resolve
from dtr.errors import BadConfig, PlanMismatch
from dtr.policies.file import fill
from dtr.policies.flow import accumulated_times, beta_times, embed_time, ratio_times, spaced_times
from dtr.policies.registry import policy_class, skeleton

POLICIES = sorted(FULL)


@pytest.mark.parametrize(
    ("name", "total", "block", "source"),
    [("pi05", 3_616_757_520, 110_104_576, 1_050_624), ("gigabrain0", 3_528_636_752, 77_865_984, 4_720_896)],
)
def test_full_size(name: str, total: int, block: int, source: int) -> None:
    policy = skeleton(name, FULL[name])
    assert policy.parameter_count == total
    assert policy_class(name).parse(FULL[name].to_dict()) == FULL[name]
    policy.drop({"language": [3]})
    assert total - policy.parameter_count == block - source
    policy.drop({"action": [3]})  # now nothing reads the layer's keys and values
    left = sum(p.numel() for name, p in policy.named_parameters() if ".3." in name and not name.startswith("vision"))
    assert left == 0
    assert policy.stacks()["language"].dead == (FULL[name].language.depth - 1,)


@pytest.mark.parametrize("name", POLICIES)
def test_padding_and_neighbours_change_nothing(name: str) -> None:
    policy, together = made(name), batch(name)
    with torch.no_grad():
        losses, actions = policy.losses(together), policy.act(together)
        for b, length in enumerate((7, 3, 5)):
            alone = {key: value[b : b + 1] for key, value in together.items()}
            alone |= {key: alone[key][:, :length] for key in ("input_ids", "attention_mask")}
            torch.testing.assert_close(policy.losses(alone)[0], losses[b], atol=2e-5, rtol=0)
            torch.testing.assert_close(policy.act(alone)[0], actions[b], atol=2e-5, rtol=0)
        padding = together["input_ids"].masked_fill(~together["attention_mask"], 9)
        missing = together["pixel_values"].clone()
        missing[1, 2] = 0.3
        assert policy.losses(together | {"input_ids": padding, "pixel_values": missing}).equal(losses)


@pytest.mark.parametrize("name", four_policies.NAMES[1:])
def test_several_draws_are_averaged(name: str) -> None:
    policy, given = four_policies.made(name), four_policies.batch(name)
    (noise, time), B, K = (given["noise"], given["time"]), given["actions"].shape[0], 3
    draws = [(noise * (k + 1), time / (k + 1)) for k in range(K)]
    noises, times = torch.stack([n for n, _ in draws], dim=1), torch.stack([t for _, t in draws], dim=1)
    many = given | {"noise": noises.flatten(0, 1), "time": times.flatten()}
    one_by_one = torch.stack([policy.losses(given | {"noise": n, "time": t}) for n, t in draws]).mean(dim=0)
    torch.testing.assert_close(policy.losses(many), one_by_one, atol=1e-6, rtol=1e-5)
    assert policy.losses(many).shape == (B,) and len(set(time.tolist())) == B


@pytest.mark.parametrize("name", POLICIES)
def test_draws_of_the_recipe_come_from_the_global_generator(name: str) -> None:
    policy, given = made(name), {key: value for key, value in batch(name).items() if key not in ("noise", "time")}
    policy.draws = 400
    torch.manual_seed(3)
    many = policy.losses(given)
    policy.draws = 1
    single = torch.stack([policy.losses(given) for _ in range(40)])
    assert many.shape == (3,) and many.requires_grad
    assert ((many - single.mean(0)).abs() < 5 * single.std(0) / 40**0.5).all() and single.std(0).min() > 0


@pytest.mark.parametrize("name", POLICIES)
def test_noise_belongs_to_the_episode(name: str) -> None:
    policy, given = made(name), {key: value for key, value in batch(name).items() if key not in ("noise", "time")}
    same = {key: value[:1].expand(3, *value.shape[1:]) for key, value in given.items()}
    a = policy.act(same | {"noise_seed": torch.tensor([4, 7, 4])})
    torch.testing.assert_close(a[0], a[2])  # not to the bit: a matrix product's rows depend on their place
    assert (a[0] - a[1]).abs().max() > 0.1
    torch.testing.assert_close(policy.act(same | {"noise_seed": torch.tensor([7, 4, 1])})[1], a[0])
    assert policy.act(same).equal(policy.act(same | {"noise_seed": torch.zeros(3, dtype=torch.long)}))
    torch.manual_seed(3)
    drawn = policy.losses(given)
    assert not policy.losses(given).equal(drawn)
    torch.manual_seed(3)
    assert policy.losses(given).equal(drawn)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("order", [("language", "action"), ("action", "language")])
def test_a_drop_is_a_gate_of_zero_and_survives_a_file(name: str, order: tuple[str, str]) -> None:
    policy, given = made(name), batch(name)
    dropped = {"language": [0, 2, 3], "action": [2, 5], "vision": [1]}
    for stack, blocks in dropped.items():
        for i in blocks:
            policy.gates()[f"{stack}.{i}"].alpha = 0.0
    with torch.no_grad():
        losses, actions = policy.losses(given), policy.act(given)
        for stack in (*order, "vision"):
            policy.drop({stack: dropped[stack]})
        torch.testing.assert_close(policy.losses(given), losses, atol=1e-5, rtol=0)
        torch.testing.assert_close(policy.act(given), actions, atol=1e-5, rtol=0)
        left = {key.split(".")[2] for key in policy.state_dict() if key.startswith("language.sources")}
        assert left == {"0", "1", "3", "4", "5"}  # 2 is gone from both streams
        again = skeleton(name, policy.config.to_dict())
        fill(again, policy.state_dict(), "the pruned policy")
        assert again.act(given).equal(policy.act(given))
    # The expert's last layer is 4 now, so what enters it is the last that counts: language 4 and 5 are dead.
    assert policy.stacks()["language"].dead == again.stacks()["language"].dead == (4, 5)
    policy.drop({"language": [4, 5]})
    torch.testing.assert_close(policy.act(given), actions, atol=1e-5, rtol=0)
    with pytest.raises(PlanMismatch, match="drops blocks"):
        policy.drop({"language": [4]})


@pytest.mark.parametrize("name", POLICIES)
def test_plans_and_costs(name: str) -> None:
    policy = skeleton(name, narrow(name))
    plan = resolve("action-half+language-half", policy)
    assert plan.dead_dropped == ("language.5",) and plan.dead_kept == ("language.4",)
    whole, left = measure(policy), skeleton(name, narrow(name))
    left.drop(plan.dropped)
    assert plan.parameters.left == left.parameter_count and plan.flops.left == measure(left).flops.total
    assert whole.tokens == 7 and all(whole.flops.by_component.values())
    left.drop({"language": [4]})  # dead, so it cost no operations
    assert measure(left).flops.total == plan.flops.left
    with pytest.raises(PlanMismatch, match="no head to narrow"):
        policy.narrow_head([0])


def test_streams_that_do_not_fit_are_refused() -> None:
    values = narrow("pi05").to_dict()
    with pytest.raises(BadConfig, match="same heads"):
        policy_class("pi05").parse(values | {"action": values["action"] | {"heads": 2}})
    with pytest.raises(BadConfig, match="a norm must be one of"):
        skeleton("pi05", values | {"language": values["language"] | {"norm": "layer"}})
    with pytest.raises(BadConfig, match="embodiment"):
        policy_class("gigabrain0").parse(narrow("gigabrain0").to_dict() | {"embodiments": 0})


@pytest.mark.parametrize(
    ("name", "part", "field"),
    [
        ("pi05", "vision", "patch_size"),
        ("pi05", "vision", "heads"),
        ("pi05", "language", "kv_heads"),
        ("pi05", "action", "head_dim"),
        ("pi05", "flow", "steps"),
        ("pi05", "", "images"),
        ("lingbot_vla", "vision", "merge"),
        ("lingbot_vla", "vision", "heads"),
        ("lingbot_vla", "vision", "patch_size"),
    ],
)
def test_a_size_of_zero_is_refused(name: str, part: str, field: str) -> None:
    values = four_policies.config(name).to_dict()
    changed = {part: values[part] | {field: 0}} if part else {field: 0}
    with pytest.raises(BadConfig, match=f"{field} must be 1 or more, got 0"):
        policy_class(name).parse(values | changed)


def test_times() -> None:
    for times in (accumulated_times(10), spaced_times(10)):
        assert len(times) == 10 and times[0] == 1.0 and abs(times[-1] - 0.1) < 1e-6
    assert accumulated_times(10) != spaced_times(10)
    p = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    ratio = float((1.5 * p**1.5 * torch.log1p(1 / p)).mean())  # E p / (p + q): density of p is 1.5 sqrt(p), q is uniform
    for draw, mean in ((beta_times, 0.6), (ratio_times, ratio)):
        torch.manual_seed(0)
        t = draw(200_000, torch.device("cpu"))
        assert t.min() >= 0.001 and t.max() <= 1 and abs(float(t.mean()) - (0.001 + 0.999 * mean)) < 0.005
    t = torch.tensor([0.0, 1.0])
    assert embed_time(t, 4, 0.25, 1.0).allclose(torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), atol=1e-6)
