"""What GateProbe saves: the same samples and the same blocks scored by it and by leaving out one block after another.

    leave one out   1 + n forwards for n blocks            GateProbe   1 forward and 1 backward without weight gradients

Both score the embedded policy (random weights: time does not depend on them) on batches of 8 and alternate batch by batch; times are
process CPU time, so that other work on the machine does not count. `ratio` is leave one out / GateProbe; the aim is blocks / 3.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtr.policies.base import Batch, Policy

CONFIG = Path(__file__).resolve().parents[3] / "config" / "embedded.yaml"
BATCH, PROMPT_TOKENS, WORDS = 8, 14, 64
STACKS = {"language": ["language"], "all": None}


def measure(quick: bool = False) -> dict[str, Any]:
    """Seconds and ratio for the language stack and for all blocks."""
    from dtr.importance.gateprobe import gate_gradients
    from dtr.importance.leave_one_out import loss_changes

    policy, result = embedded_policy(), {}
    for stack, components in STACKS.items():
        rows = []
        for k in range(2 if quick else 9):
            batch = random_batch(policy, seed=k)
            start = time.process_time()
            scored = gate_gradients(policy, batch, components)
            between = time.process_time()
            loss_changes(policy, batch, components)
            rows.append((between - start, time.process_time() - between))
        rows = rows[1:]  # the first warms up
        dead = sum(len(s.dead) for s in policy.stacks().values()) if components is None else 0
        result[stack] = row = summary(rows, blocks=len(scored) - dead)
        print(f"{stack}: {row['blocks']} live blocks, GateProbe {row['ratio']:.1f} times cheaper (aim {row['aim']:.1f})", flush=True)
    return result


def summary(rows: list[tuple[float, float]], blocks: int) -> dict[str, Any]:
    """Medians of CPU seconds a batch (GateProbe, leave one out); the ratio is that of the totals."""
    probe_s, reference_s = (sum(column) for column in zip(*rows, strict=True))
    return {
        "blocks": blocks,
        "samples": BATCH * len(rows),
        "gateprobe_s": round(median(row[0] for row in rows), 4),
        "leave_one_out_s": round(median(row[1] for row in rows), 4),
        "ratio": round(reference_s / probe_s, 2),
        "aim": round(blocks / 3, 2),
    }


def embedded_policy() -> Policy:
    """The policy of config/embedded.yaml with random weights."""
    import yaml

    from dtr.policies.registry import build

    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["policies"]["openvla_oft"]
    model = settings["model"] | {"language": {"vocab": WORDS} | settings["model"]["language"]}
    return build(settings["class"], model, seed=0)


def random_batch(policy: Policy, seed: int) -> Batch:
    """BATCH random samples, none padded."""
    import torch

    c, random, tokens = policy.config, torch.Generator().manual_seed(seed), PROMPT_TOKENS + policy.config.action_tokens + 3
    return {
        "pixel_values": torch.randn(BATCH, 6 * c.images, c.image_size, c.image_size, generator=random),
        "input_ids": torch.randint(6, WORDS, (BATCH, tokens), generator=random),
        "attention_mask": torch.ones(BATCH, tokens, dtype=torch.bool),
        "proprio": torch.randn(BATCH, c.proprio_dim, generator=random),
        "actions": torch.randn(BATCH, c.chunk, c.action_dim, generator=random),
    }
