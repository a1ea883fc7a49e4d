"""A checkout on the cluster: stages that only write files, except those that a test wants to be real or to misbehave."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from world import FAKE_STAGES, SMOKE, World

# Seconds that count on a real cluster and only cost time on one node; and `sacct` is there, but no database that it could ask.
HASTE = (
    "--slurm-status-command=squeue",
    "--slurm-no-account",
    "--latency-wait",
    "10",
    "--slurm-init-seconds-before-status-checks",
    "1",
    "--seconds-between-status-checks",
    "1",
)
PROFILE = ("--workflow-profile", "profiles/slurm", *HASTE)
ARM = "artifacts/smoke/openvla_oft/{cut}/four.recover/seed0/recovered.safetensors"
REAL = 'exec python -m dtr.cli "$@"'


def arm(cut):
    """The recovered policy of a cut."""
    return ARM.format(cut=cut)


class Toy(World):
    """A world that can run on the cluster; its clones have stand-ins for stages."""

    def clone(self, folder, *lines):
        """The same checkout elsewhere, with all that was made; `lines` of shell come before the stand-in's own."""
        shutil.copytree(self.folder, folder / "world", symlinks=True)
        stages = folder / "stages"
        stages.mkdir()
        first, rest = FAKE_STAGES.split("\n", 1)
        (stages / "dtr").write_text("\n".join([first, f"seen={folder}", *lines, rest]))
        (stages / "dtr").chmod(0o755)
        return Toy(folder / "world", [stages])

    def slurm(self, *arguments, check=True):
        """Run Snakemake at the smoke scale on the cluster; its output."""
        return self.run("snakemake", *SMOKE, *PROFILE, *arguments, check=check)

    def start(self, *arguments):
        """The same in the background: the process."""
        command = [sys.executable, "-m", "snakemake", *SMOKE, *PROFILE, *arguments]
        with open(self.folder.parent / "background.txt", "w") as out:  # a pipe would fill up
            return subprocess.Popen(command, cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def background(self):
        """What a run in the background has said."""
        return (self.folder.parent / "background.txt").read_text()[-6000:]


def saved_step(folder):
    """The step that a training's state, saved under `folder`, has reached; 0 without one."""
    states = list(Path(folder).rglob("state-*.safetensors"))
    if not states:
        return 0
    with open(states[0], "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return int(json.loads(next(iter(header["__metadata__"].values())))["step"])
