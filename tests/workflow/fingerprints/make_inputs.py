"""Make the fixed inputs of the fingerprints anew: `python tests/workflow/fingerprints/make_inputs.py`, when a format changed.

They are files, and stay as they are when a stage changes, so that each stage is judged alone. Afterwards record the fingerprints.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

from dtr import cli
from dtr.data.demonstrations import read_demonstrations, write_demonstrations
from dtr.policies.file import load_policy, save_policy
from dtr.rollout.episode import Episode, write_episodes
from dtr.rollout.protocol import Protocol, conditions_on
from dtr.workflow.fingerprint import HOME
from dtr.workflow.fingerprint_commands import FLOW_POLICY, POLICY, RECIPE, SUCCESS

ROOT = Path(__file__).resolve().parents[3]
INPUTS = (HOME / "inputs").resolve().relative_to(ROOT)
"""Relative, because cells name the files they were computed from."""
SUITE = "embedded_spatial"
STEPS = 12
CLAIMS = ("half_language_gains.openvla", "half_language_suffices.openvla", "half_vision_hurts.openvla")


def dtr(*argv):
    assert cli.run([str(argument) for argument in argv]) == 0, argv


def make_policy(config, work, name):
    """A trained policy as a fixed input."""
    made = ("--data", INPUTS / "data", "--recipe", RECIPE, "--state-dir", work / "s", "--out", work / name)
    dtr("checkpoint", "--config", json.dumps(config), *made)
    loaded = load_policy(work / name)
    save_policy(INPUTS / name, loaded.policy, loaded.processor, {"stage": "fingerprint"})


def main():
    os.chdir(ROOT)
    shutil.rmtree(INPUTS, ignore_errors=True)
    work = Path(tempfile.mkdtemp())
    dtr("demonstrate", "--suite", SUITE, "--episodes", 1, "--checks", 0, "--out", work / "demos")
    task = read_demonstrations(work / "demos")[0]
    short = {name: getattr(task, name)[:STEPS] for name in ("qpos", "state", "actions", "episode")}
    write_demonstrations(INPUTS / "demos", SUITE, [dataclasses.replace(task, **short)], {})
    dtr("render", "--demos", INPUTS / "demos", "--image-size", 16, "--out", INPUTS / "data")
    make_policy(POLICY, work, "policy.safetensors")
    make_policy(FLOW_POLICY, work, "pi05.safetensors")
    dtr("drop", "--policy", INPUTS / "policy.safetensors", "--cut", "language-half+action-half", "--plan-out", INPUTS / "plan.json")
    dtr("drop", "--policy", INPUTS / "policy.safetensors", "--cut", "none", "--plan-out", INPUTS / "none.json")
    dtr("drop", "--policy", INPUTS / "pi05.safetensors", "--cut", "language-half", "--plan-out", INPUTS / "pi05_plan.json")
    calibration = ("--data", INPUTS / "data", "--samples", 6, "--out", INPUTS / "gateprobe.json")
    dtr("score", "--policy", INPUTS / "policy.safetensors", *calibration)
    dtr("export", "--policy", INPUTS / "policy.safetensors", "--out", INPUTS / "official")
    protocol = Protocol.read(SUCCESS["protocol"])
    for name, outcomes in (("arm", "110111"), ("baseline", "010010")):
        fixed = {
            "steps": 5,
            "inferences": 2,
            "trace": "0" * 16,
            "error": None,
            "conditions": conditions_on(protocol, SUITE),
            "policy": "0" * 16,
        }
        episodes = [Episode(SUITE, "t", 0, i, protocol.seed, "success" if o == "1" else "failure", **fixed) for i, o in enumerate(outcomes)]
        write_episodes(INPUTS / f"{name}/seed0/spatial.jsonl", episodes)
    dtr("cost", "--policy", INPUTS / "policy.safetensors", "--out", INPUTS / "cost.json")
    for row, episodes in (("openvla_oft.baseline", "baseline"), ("openvla_oft.half.language", "arm")):
        for column in ("size", "flops", "spatial", "average"):
            out = INPUTS / f"cells/{row}.{column}.json"
            names = ["--table", "table1", "--row", row, "--scale", "smoke", "--model", "M", "--setting", "S", "--out", out]
            arm, baseline = (INPUTS / f"{name}/seed0/spatial.jsonl" for name in (episodes, "baseline"))
            success = ["--episodes", arm, "--baseline", baseline, "--protocol", SUCCESS["protocol"]]
            dtr("cell", *names, "--column", column, *(["--cost", INPUTS / "cost.json"] if column in ("size", "flops") else success))
    os.chdir(INPUTS)
    cells = [
        f"cells/{row}.{c}.json"
        for row in ("openvla_oft.baseline", "openvla_oft.half.language")
        for c in ("size", "flops", "spatial", "average")
    ]
    dtr("table", "--cells", *cells, "--out", "table1.csv")
    Path("table1.md").unlink()
    os.chdir(ROOT)
    text = (ROOT / "config/experiments/claims.tsv").read_text().splitlines()
    (INPUTS / "claims.tsv").write_text("\n".join(line for line in text if line.startswith(("claim\t", *CLAIMS))) + "\n")
    text = (ROOT / "results/reported/table1.csv").read_text().splitlines()
    known = [line for line in text[1:] if line.startswith("openvla_oft") and ",average," in line]
    (INPUTS / "reported").mkdir()
    (INPUTS / "reported/table1.csv").write_text("\n".join([text[0], *known]) + "\n")
    for record in INPUTS.rglob("*.run.json"):
        record.unlink()


if __name__ == "__main__":
    main()
