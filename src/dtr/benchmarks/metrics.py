"""What the shared pass saves: all metrics that one forward and one backward can give, against GateProbe alone on the same batches.

    alone   GateProbe          together   GateProbe, Taylor, Fisher, CosSim, CosSim contiguous, Magnitude, Random

Both score all blocks of the embedded policy (random weights: time does not depend on them) on batches of 8 and alternate batch by batch;
times are process CPU time, so that other work on the machine does not count. `ratio` is together / alone; the aim is at most 2.2.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

AIM = 2.2
GRANULARITIES = {"block": ("block",), "block, attention and mlp": ("block", "attention", "mlp")}


def measure(quick: bool = False) -> dict[str, Any]:
    """Seconds a batch and ratio, for blocks and for blocks and parts at once."""
    from dtr.benchmarks.gateprobe import BATCH, embedded_policy, random_batch
    from dtr.importance.calibration import Calibration
    from dtr.importance.metrics import TOGETHER, evaluate

    policy, result = embedded_policy(), {}
    for name, granularities in GRANULARITIES.items():
        rows = []
        for k in range(2 if quick else 13):
            calibration, marks = Calibration.of([random_batch(policy, seed=k)]), [time.process_time()]
            for metrics in (("gateprobe",), TOGETHER):
                evaluate(policy, calibration, metrics, None, granularities)
                marks.append(time.process_time())
            rows.append((marks[1] - marks[0], marks[2] - marks[1]))
        alone_s, together_s = (sum(column) for column in zip(*rows[1:], strict=True))  # the first warms up
        result[name] = {
            "metrics": list(TOGETHER),
            "samples": BATCH * len(rows[1:]),
            "gateprobe_s": round(median(row[0] for row in rows[1:]), 4),
            "together_s": round(median(row[1] for row in rows[1:]), 4),
            "ratio": round(together_s / alone_s, 2),
            "aim": AIM,
        }
        print(f"{name}: {len(TOGETHER)} metrics cost {result[name]['ratio']:.2f} times GateProbe alone (aim {AIM})", flush=True)
    return result
