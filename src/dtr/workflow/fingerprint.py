"""Does a stage still mean what its version says? Every stage runs on a tiny fixed input, and what comes out is compared with a record.

    python -m dtr.workflow.fingerprint                   compare
    python -m dtr.workflow.fingerprint --record NAME...  write these records anew (all of them without a name), after raising the
                                                         version of what moved

The inputs (tests/workflow/fingerprints/inputs) are fixed files, not outputs of other stages, so a stage that moves moves alone.
A fingerprint is not a hash of bytes: processors round differently. It is the output's structure with every number in it, arrays as
means and spreads, compared to about three significant digits; hashes, paths, machines and times are left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtr import cli
from dtr.errors import BadRecord, DtrError
from dtr.provenance import read_json, write_json
from dtr.stages import STAGES
from dtr.workflow.difference import first_difference
from dtr.workflow.fingerprint_commands import COMMANDS, PROTOCOL, arguments, stage_of
from dtr.workflow.fingerprint_readers import READERS

HOME = Path(__file__).resolve().parents[3] / "tests/workflow/fingerprints"


def fingerprint(name: str, inputs: Path) -> dict[str, Any]:
    """Run the stage of a fingerprint on the fixed inputs; file name -> what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if (code := cli.run(arguments(name, inputs, out))) != 0:
            raise DtrError(f"`dtr {stage_of(name)}` failed on the fixed inputs of the fingerprint {name} with exit code {code}.")
        found = [path for path in out.rglob("*") if path.suffix in READERS and not path.name.endswith(".run.json")]
        files = sorted(path for path in found if out / "state" not in path.parents)
        seen = {"looks": looks(name, inputs)} if stage_of(name) == "rollout" else {}
        return seen | {str(path.relative_to(out)): READERS[path.suffix](path) for path in files}


def looks(name: str, inputs: Path) -> list[dict[str, Any]]:
    """What the engine shows the policy of the fixed rollout, and what it answers: pictures by their quarters, state, actions.

    The record of that rollout says "failure" whatever happens in it; this says where the camera stands and what an action does. The noise
    of a flow policy, which follows from the last bits that it sees, is the same for all here: those bits differ between processors.
    """
    from dtr.policies.file import load_policy
    from dtr.rollout.engine import Engine
    from dtr.rollout.inference import Inference, build_inference
    from dtr.rollout.protocol import Protocol
    from dtr.rollout.run import orders_of
    from dtr.sim.suites import suite

    asked = dict(zip((words := arguments(name, inputs, inputs))[1::2], words[2::2], strict=True))
    protocol, tasks, loaded = Protocol.read(PROTOCOL), suite(asked["--suite"]), load_policy(asked["--policy"])
    infer, seen = build_inference(loaded.policy, loaded.processor, protocol, [task.language for task in tasks.tasks]), []

    def batch(requests: Any) -> Any:
        inputs = Inference.batch(infer, requests)
        return inputs | {key: inputs[key] * 0 for key in ("noise_seed",) if key in inputs}

    def watch(requests: Any) -> Any:
        chunks = infer(requests)
        for row, (frame, _) in requests.items():
            n, S = len(frame.images), protocol.image_size // 2
            quarters = frame.images.reshape(n, 2, S, 2, S, 3).mean(axis=(2, 4)) / 255
            seen.append({"pictures": quarters.tolist(), "state": frame.state.tolist(), "actions": chunks[row].tolist()})
        return chunks

    infer.batch = batch  # type: ignore[method-assign]
    for _ in Engine(watch, protocol, 1).run(orders_of(protocol, tasks)):
        pass
    return seen


def check(name: str, now: Any, record: Mapping[str, Any]) -> None:
    """Raise BadRecord when a stage's output moved and its version did not, or when the record is of another version."""
    stage, old = stage_of(name), record.get(name)
    version = STAGES[stage].version
    again = f"make sure that its output is right, then record it: `python -m dtr.workflow.fingerprint --record {name}`."
    if old is None:
        raise BadRecord(f"stage {name} has no fingerprint: {again}")
    if old["version"] != version:
        raise BadRecord(f"stage {name} is of version {version} and its fingerprint of version {old['version']}: {again}")
    difference = first_difference(old["output"], now)
    if difference is not None:
        remedy = f"if that is meant, raise the version of {stage} in src/dtr/stages.py to {version + 1}, {again}"
        raise BadRecord(f"the output of stage {name} moved ({difference}): {remedy}")


def main() -> None:
    """Compare all fingerprints, or record some."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--record", nargs="*", choices=COMMANDS, metavar="NAME", help="write these records anew; all without a name")
    wanted = parser.parse_args().record
    record = HOME / "record.json"
    if wanted is not None:
        names = wanted or list(COMMANDS)
        new = {name: {"version": STAGES[stage_of(name)].version, "output": fingerprint(name, HOME / "inputs")} for name in names}
        write_json(record, (dict(read_json(record)) if wanted else {}) | new)
        return
    try:
        for name in COMMANDS:
            check(name, fingerprint(name, HOME / "inputs"), read_json(record))
    except DtrError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
