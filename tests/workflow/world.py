"""A fresh copy of the repository's files in a folder of its own, and what Snakemake would do there."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import cache_from_source
from pathlib import Path

import warm_snakemake

FAKE_STAGES = """#!/bin/sh
# Stands for `dtr` where the graph is tested, not the stages: writes the command into every output.
[ "$1" = store ] && exec python -m dtr.cli "$@"
verb=$1 all=$* option=
for word; do
    case $word in
        --*) option=$word; continue ;;
    esac
    case $option in
        --out|--plan-out)
            case $verb in
                demonstrate|render|fetch) mkdir -p "$word"; echo "$all" >"$word/data" ;;
                pressure)
                    echo "$all" | tee "$word" "${word%.csv}.md" >"${word%.csv}_contrasts.csv"
                    mkdir -p "$(dirname "$word")/cells/language_pressure" ;;
                table|verdict) echo "$all" >"$word"; echo "$all" >"${word%.csv}.md" ;;
                figure) echo "$all" >"$word"; echo "$all" >"${word%.png}.pdf" ;;
                checkpoint|recover) echo "$all" | tee "$word" "$word.losses.jsonl" >"$word.run.json" ;;
                *) echo "$all" >"$word"; echo "$all" >"$word.run.json" ;;
            esac ;;
    esac
done
"""
ROOT = Path(__file__).resolve().parents[2]
SMOKE = ("--configfile", "config/smoke.yaml")


def git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


class World:
    """A checkout. Commands run with this environment's programs and the checkout's own code."""

    def __init__(self, folder, programs=()):
        self.folder = Path(folder)
        self.programs = [*map(str, programs), str(Path(sys.executable).parent)]

    @classmethod
    def copy(cls, folder):
        """All files that git knows or would add, and no artifact: what a clone of the present state would be."""
        names = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file() and not name.startswith("store/"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        return cls(folder)

    def fake_stages(self, folder):
        """The same checkout with stages that only write files."""
        (folder / "dtr").write_text(FAKE_STAGES)
        (folder / "dtr").chmod(0o755)
        return World(self.folder, [folder])

    def environment(self):
        """That of a command."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        return kept | {"PATH": ":".join([*self.programs, kept["PATH"]]), "PYTHONPATH": str(self.folder / "src")}

    def run(self, *command, check=True):
        """Standard output and error of a command."""
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        result = subprocess.run(command, cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, text=True, check=False, **both)
        return self.checked(command, result.returncode, result.stdout, check)

    def snakemake(self, *arguments, check=True):
        """Run Snakemake at the smoke scale."""
        code, said = warm_snakemake.run(self.folder, self.environment(), *SMOKE, *arguments)
        return self.checked(arguments, code, said, check)

    @staticmethod
    def checked(command, code, said, check):
        """What a command has said, once its exit code is what it should be."""
        if check:
            assert code == 0, f"{command}\n{said[-6000:]}"
        else:
            assert code != 0, f"{command} should have failed\n{said[-3000:]}"
        return said

    def plan(self, *arguments):
        """Rule -> number of jobs that Snakemake would run."""
        text = self.snakemake("--dry-run", *arguments)
        if "Nothing to be done" in text:
            return {}
        table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\n\n", text, re.DOTALL)
        assert table, text[-3000:]
        counts = Counter({name: int(count) for name, count in (line.split() for line in table.group(1).splitlines())})
        del counts["total"]
        return dict(counts)

    def edit(self, name, old, new):
        """Replace text that stands exactly once in a file."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        self.put(name, text.replace(old, new).encode())

    def put(self, name, data):
        """Write a file anew."""
        path = self.folder / name
        path.write_bytes(data)
        if path.suffix == ".py":  # bytecode is told apart by whole seconds and size, which a quick edit leaves as they were
            Path(cache_from_source(str(path))).unlink(missing_ok=True)
