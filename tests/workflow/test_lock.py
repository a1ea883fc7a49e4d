"""The lock is complete, matches what is installed, and a stage sees only its own packages."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from dtr import stages
from dtr.errors import BadConfig, UnknownName
from dtr.lock import PYTHONS, closure, lock_digest, lock_text, read_lock, roots

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "envs/lock.txt"


def test_the_lock_is_what_the_project_needs_and_what_is_installed():
    names = roots(ROOT / "pyproject.toml")
    assert lock_text({python: closure(names, python) for python in PYTHONS}) == LOCK.read_text(), "run `python -m dtr.lock --write`"


def test_a_cpu_and_a_cuda_build_of_torch_satisfy_the_lock():
    assert read_lock(LOCK)["torch"] == "2.13.0"
    assert "--hash" not in LOCK.read_text() and not re.search(r"^torch.*\+", LOCK.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("package", "pin"), [("mujoco", "3.3.2"), ("robosuite", "1.4.0"), ("bddl", "1.0.1"), ("hf-libero", "0.1.4"), ("snakemake", "9.27.1")]
)
def test_the_pins_that_results_hang_on(package, pin):
    assert read_lock(LOCK)[package] == version(package) == pin


def test_a_package_that_only_some_pythons_need_gets_a_marker():
    text = lock_text({"3.11": {"a": "1", "b": "2"}, "3.12": {"a": "1"}, "3.13": {"a": "1"}})
    assert text.splitlines()[1:] == ["a==1", 'b==2 ; python_version == "3.11"']


def test_a_stage_sees_its_own_packages_only(tmp_path, monkeypatch):
    def tokens(text):
        (tmp_path / "lock.txt").write_text(text)
        stages.token.cache_clear()
        return {stage: stages.token(stage) for stage in stages.STAGES}

    monkeypatch.setattr(stages, "LOCK", tmp_path / "lock.txt")
    text = LOCK.read_text()
    before = tokens(text)
    assert tokens(re.sub(r"ruff==\S+", "ruff==99", text)) == before
    newer = tokens(text.replace("mujoco==3.3.2", "mujoco==3.8.1"))
    assert {stage for stage in before if newer[stage] != before[stage]} == {"demonstrate", "render", "check_data", "rollout"}
    monkeypatch.undo()
    stages.token.cache_clear()


def test_unknown_names(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'recover'"):
        stages.token("recovr")
    with pytest.raises(BadConfig, match="pins no nothing"):
        lock_digest(LOCK, ["nothing"])
