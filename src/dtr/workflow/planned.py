"""What Snakemake would make, asked of Snakemake itself: it alone knows what is missing, newer, or of other parameters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from dtr.errors import BadConfig, MissingAssets
from dtr.workflow.targets import Targets

BRING = "check that store/ is checked out whole, or compute with `snakemake`."
CORRECT = "correct the target or the configuration; `snakemake -n` says more."


def run_tool(*command: str, remedy: str = BRING) -> str:
    """Run DVC or Snakemake without questions, statistics or network; its output. Raises MissingAssets with what it says went wrong."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "CI": "1"}
    argv = [sys.executable, "-m", *command]
    result = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()
        said = next((line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")), lines[-1])
        raise MissingAssets(f"`{' '.join(command[:2])}` failed ({said.rstrip('.')}): {remedy}")
    return result.stdout


def late_files(config: str, targets: Iterable[str]) -> list[str]:
    """The files that Snakemake would make for `targets`, in its order. Raises MissingAssets when it cannot plan them."""
    lines = run_tool("snakemake", "--configfile", config, "--summary", "--", *targets, remedy=CORRECT).splitlines()
    return [line.split("\t")[0] for line in lines if line.endswith("\tupdate pending")]


def read_targets(config: str) -> Targets:
    """What a configuration can build. Raises BadConfig when it cannot be read."""
    try:
        return Targets(yaml.safe_load(Path(config).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise BadConfig(f"expected a configuration at {config}, but it cannot be read ({error}): name one of config/*.yaml.") from error
