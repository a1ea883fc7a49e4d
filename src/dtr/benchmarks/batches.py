"""What another batch size changes: the largest difference of any action number, and the episodes that end otherwise.

The rows of a matrix product round differently in batches of another size, so the batch size is a part of the protocol; this says how much
depends on it. The undropped recovered policy of the cache, where it is; else random weights, which reach no goal, so that only the
actions tell.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtr.rollout.protocol import Protocol

if TYPE_CHECKING:
    from dtr.policies.base import Policy
    from dtr.policies.processor import Processor
    from dtr.rollout.episode import Episode
    from dtr.sim.suites import Suite

POLICY = Path(__file__).parents[3] / "artifacts/embedded/openvla_oft/none/four.recover/seed0/recovered.safetensors"
SUITE = "embedded_long"
PROTOCOL = Protocol("bench", chunk=4, batch=2, seed=7)
SIZES = (1, 2, 4, 8)
TRIALS = 10


def measure(quick: bool = False) -> dict[str, Any]:
    """Action gaps of every size against one by one, and flipped episodes of every size against the protocol's."""
    from dtr.rollout.agreement import agreement
    from dtr.rollout.inference import action_gap
    from dtr.sim.suites import suite

    tasks = suite(SUITE)
    policy, processor, weights = candidate(tasks)
    gaps = action_gap(policy, processor, first_frames(tasks), SIZES)
    protocol = replace(PROTOCOL, trials=1, max_steps=8) if quick else replace(PROTOCOL, trials=TRIALS)
    episodes = {size: play(policy, processor, tasks, replace(protocol, batch=size)) for size in SIZES}
    alike = {size: agreement(episodes[size], episodes[PROTOCOL.batch]) for size in SIZES}
    if weights == "random":
        print("batches: random weights, which reach no goal (`dtr store pull` brings trained ones): look at the actions alone")
    for size in SIZES:
        found = alike[size]
        print(
            f"batch {size}: actions differ by {gaps[size]:.1e} at most from one by one; "
            f"{len(found.flipped)} of {found.pairs} episodes end otherwise than in batches of {PROTOCOL.batch}, "
            f"{found.identical} are equal bit for bit",
            flush=True,
        )
    return {
        "suite": SUITE,
        "weights": weights,
        "protocol": protocol.to_dict(),
        "action_gap": {str(size): gaps[size] for size in SIZES},
        "successes": {str(size): sum(e.outcome == "success" for e in episodes[size]) for size in SIZES},
        "flipped": {str(size): [str(key) for key in alike[size].flipped] for size in SIZES},
        "identical": {str(size): alike[size].identical for size in SIZES},
        "pairs": alike[PROTOCOL.batch].pairs,
    }


def candidate(tasks: Suite) -> tuple[Policy, Processor, str]:
    """Policy, processor, and where the weights are from."""
    from dtr.benchmarks.gateprobe import embedded_policy
    from dtr.benchmarks.rollouts import plain_processor
    from dtr.policies.file import load_policy
    from dtr.provenance import sha256_file

    if POLICY.exists():
        loaded = load_policy(POLICY)
        return loaded.policy, loaded.processor, sha256_file(POLICY)
    policy = embedded_policy()
    return policy, plain_processor([task.language for task in tasks.tasks], policy.config), "random"


def first_frames(tasks: Suite) -> list[tuple[Any, str]]:
    """What the policy sees first of one state of each task, with the instruction. One simulator a process: they take turns."""
    from dtr.sim.simulator import Simulator
    from dtr.sim.suites import initial_states

    found = []
    for task in tasks.tasks:
        simulator = Simulator(task, image_size=PROTOCOL.image_size)
        simulator.reset(initial_states(task)[0], PROTOCOL.seed)
        found.append((simulator.observe(), task.language))
        simulator.close()
    return found


def play(policy: Policy, processor: Processor, tasks: Suite, protocol: Protocol) -> list[Episode]:
    """The episodes of the protocol, on all cores."""
    from dtr.benchmarks.rollouts import WORKERS
    from dtr.rollout.inference import build_inference
    from dtr.rollout.run import orders_of
    from dtr.rollout.session import Session

    infer = build_inference(policy, processor, protocol, [task.language for task in tasks.tasks])
    session = Session(infer, protocol, tasks, "bench", WORKERS, hang_s=300.0)
    return list(session.play(orders_of(protocol, tasks)))
