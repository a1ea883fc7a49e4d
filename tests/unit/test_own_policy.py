"""docs/your-own-policy.md as a third party follows it: its package, with real metadata, outside of ours, through every stage."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import recovery_world as world
from test_recovery_verbs import write

from dtr.errors import BadConfig, UnknownName
from dtr.policies.base import Policy
from dtr.policies.bounds import Bounds
from dtr.policies.processor import Processor, read_processor
from dtr.policies.registry import policy_class, processor_class
from dtr.policies.tokenizer import WordTokenizer

DOC = Path(__file__).resolve().parents[2] / "docs/your-own-policy.md"

DRIVER = """
import json, os, shlex, signal, sys, threading, time
import numpy as np
from dtr.cli import run
from dtr.wire.policy import PolicyClient

def ask():
    while not os.path.exists("work/policy.sock"):
        time.sleep(0.05)
    with PolicyClient("work/policy.sock") as client:
        answer = client.act(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(8), "push it")
        np.save("work/actions.npy", answer.actions)
    os.kill(os.getpid(), signal.SIGINT)

for line in sys.stdin.read().splitlines():
    words = shlex.split(line)
    assert words.pop(0) == "dtr"
    if words[0] == "serve":
        threading.Thread(target=ask, daemon=True).start()
    code = run(words)
    print(words[0], code, flush=True)
    if code:
        sys.exit(code)
"""


def block(language: str) -> str:
    """The one block of this language in the page."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    return found


def install(site: Path, module: str, source: str, entries: dict[str, dict[str, str]]) -> None:
    """What pip leaves of a package of one module: the module, and its metadata."""
    info = site / f"{module}-0.1.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(source, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.1\n")
    sections = (f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in found.items()) for group, found in entries.items())
    (info / "entry_points.txt").write_text("\n".join(sections))


def test_the_page_s_package_goes_through_every_stage(tmp_path: Path) -> None:
    install(tmp_path / "site", "my_policy", block("python"), tomllib.loads(block("toml"))["project"]["entry-points"])
    write(tmp_path / "data", world.data())
    (tmp_path / "my_policy.yaml").write_text(block("yaml"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(Path(inspect.getfile(Policy)).parents[2])])}
    commands = block("sh")
    ran = subprocess.run(
        [sys.executable, "-c", DRIVER], input=commands, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    verbs = [line.split()[1] for line in commands.splitlines()]
    assert [line for line in ran.stdout.splitlines() if re.fullmatch(r"\w+ 0", line)] == [f"{verb} 0" for verb in verbs]
    assert set(verbs) >= {"checkpoint", "score", "drop", "cost", "recover", "serve"}
    plan = json.loads((tmp_path / "work/plan.json").read_text())
    scores = json.loads((tmp_path / "work/scores.json").read_text())["blocks"]
    assert plan["policy"] == "my_policy" and len(plan["dropped"]["language"]) == 2 and set(scores) == {f"language.{i}" for i in range(4)}
    kept = [scores[f"language.{i}"]["score"] for i in plan["kept"]["language"]]
    assert min(kept) >= max(scores[f"language.{i}"]["score"] for i in plan["dropped"]["language"]) > 0
    assert 0 < json.loads((tmp_path / "work/cost.json").read_text())["flops"]["fraction"] < 1
    first, last = (json.loads(line)["loss"] for line in (losses(tmp_path / "work/pretrained"), losses(tmp_path / "work/recovered")))
    assert last < first
    actions = np.load(tmp_path / "work/actions.npy")
    assert actions.shape == (2, 7) and (np.abs(actions) <= 1).all() and actions.any()


def losses(stem: Path) -> str:
    """The last point of a loss curve."""
    return stem.with_name(f"{stem.name}.safetensors.losses.jsonl").read_text().splitlines()[-1]


def test_every_name_on_the_page_exists() -> None:
    text = DOC.read_text(encoding="utf-8")
    names = set(re.findall(r"`(dtr(?:\.\w+)+)`", text)) - {"dtr.policies", "dtr.processors"}
    assert len(names) > 5
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert attribute[0].islower() or hasattr(importlib.import_module(module), attribute), name
        assert attribute[0].isupper() or importlib.import_module(name), name
    table = [cell for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for cell in re.findall(r"`(\w+)`", row)]
    assert [name for name in table if not hasattr(Policy, name) and name not in ("flow", "openvla_oft")] == []
    assert Policy.__abstractmethods__ == {"stacks", "losses", "act"}
    listed = re.search(r"its abstract methods: (.*?)\)", text)
    assert listed and set(re.findall(r"`(\w+)`", listed[1])) == Processor.__abstractmethods__


@pytest.mark.parametrize(("entry", "says"), [
    ("nowhere_at_all:Policy", r"offered as nowhere_at_all:Policy, which does not load \(No module named"),
    ("theirs:Absent", "which does not load"),
    ("theirs:number", "which is no subclass of Policy"),
    ("theirs:Half", "theirs.Half lacks act, losses: write them"),
    ("theirs:Renamed", "is offered as 'their_policy' but calls itself 'other'"),
])  # fmt: skip
def test_a_package_that_is_wrong_is_said(entry: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = "from dtr.policies.base import Policy\n\nnumber = 3\n\n\nclass Half(Policy):\n    def stacks(self):\n        return {}\n"
    source = f"{half}\n\nclass Renamed(Half):\n    name = 'other'\n    losses = act = None\n"
    install(tmp_path, "theirs", source, {"dtr.policies": {"their_policy": entry}, "dtr.processors": {"theirs": entry}})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    with pytest.raises(BadConfig, match=says):
        policy_class("their_policy")
    with pytest.raises(UnknownName, match="did you mean 'their_policy'"):
        policy_class("their_polcy")
    if entry == "theirs:Half":
        with pytest.raises(BadConfig, match="which is no subclass of Processor"):
            processor_class("theirs")
    monkeypatch.delitem(sys.modules, "theirs", raising=False)


def test_a_package_s_processor_is_read_back_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from dtr.policies.flow_processor import FlowProcessor\n\n\nclass Theirs(FlowProcessor):\n    kind = 'theirs'\n"
    install(tmp_path, "spoken", source, {"dtr.processors": {"theirs": "spoken:Theirs"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    bounds = Bounds((0.0,) * 7, (1.0,) * 7, (True,) * 7)
    made = processor_class("theirs")(WordTokenizer((), 6, 5), bounds, bounds, 8, 2, 7, padded_dim=7, text_tokens=4)  # type: ignore[call-arg]
    again = read_processor(json.loads(json.dumps(made.to_dict())))
    assert type(again).__module__ == "spoken" and again == made
    with pytest.raises(UnknownName, match="unknown kind of processor 'thiers': did you mean 'theirs'"):
        read_processor(made.to_dict() | {"kind": "thiers"})
