"""Table 1 at the smoke scale inside the image of containers/dtr.def, alone and under Slurm: `make test-cluster`, not `make test`.

Apptainer is Debian's, the base image is made by debootstrap and the packages come from wheels of the lock, so no image registry is needed.
What was made stays in work/test-cluster; the image is built again when the lock or the definition is another.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from slurm import cluster
from toy import PROFILE, Toy
from world import ROOT, SMOKE

from dtr.provenance import sha256_file
from dtr.workflow.image import LABEL, OtherLock, check_image, labels

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3 * 3600)]
HERE = Path(__file__).parent
WORK = ROOT / "work/test-cluster"
TABLE = "results/table1.csv"
CONTAINERS = ("--software-deployment-method", "apptainer")
TIMES = []  # of every command so far


def done(*command, **more):
    """Run a command, print it with its time, and return what it said; a script's exit code 3 skips."""
    start = time.monotonic()
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **more)
    shown = " ".join(map(str, command)).replace(f"{ROOT}/", "").replace(sys.executable, "python")
    TIMES.append(f"[{time.monotonic() - start:7.1f} s] {shown[:180]} -> {result.returncode}")
    print(f"\n{TIMES[-1]}", flush=True)
    if result.returncode == 3:
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-6000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def apptainer():
    """The folder of Apptainer's program, set up for this machine."""
    done(HERE / "apptainer.sh", WORK / "apptainer")
    for name in ("cache", "temporary"):
        (WORK / name).mkdir(parents=True, exist_ok=True)
    os.environ |= {"APPTAINER_CACHEDIR": str(WORK / "cache"), "APPTAINER_TMPDIR": str(WORK / "temporary")}
    os.environ["PATH"] = f"{WORK}/apptainer/bin:{os.environ['PATH']}"
    print(done("apptainer", "--version").strip())
    return WORK / "apptainer/bin"


@pytest.fixture(scope="module")
def image(apptainer):
    """The image, built by `make image` from our definition on a base of our own."""
    built, wheels = WORK / "dtr.sif", WORK / "wheels"
    of = sha256_file(ROOT / "envs/lock.txt") + sha256_file(ROOT / "containers/dtr.def")
    stamp = WORK / "image.txt"
    if built.exists() and stamp.exists() and stamp.read_text().startswith(of):
        print(f"built before: {stamp.read_text().removeprefix(of)}")
    else:
        done(HERE / "base.sh", WORK / "base.sif")
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", wheels, "--find-links", wheels)
        done(*pip, "--no-deps", "-r", ROOT / "envs/lock.txt")
        done(*pip, "--constraint", ROOT / "envs/lock.txt", "torch==2.13.0")
        arguments = {"bootstrap": "localimage", "base": WORK / "base.sif", "pip": "--no-index --find-links=/mnt"}
        options = " ".join(f"--build-arg '{name}={value}'" for name, value in arguments.items())
        done("make", "--assume-old=setup", "image", f"IMAGE={built}", f"IMAGE_OPTIONS=--bind {wheels}:/mnt {options}", cwd=ROOT)
        stamp.write_text("\n".join([of, *TIMES]))
    print(f"{built.stat().st_size / 1e6:.0f} MB")
    return built


class Contained(Toy):
    """A checkout with an image; `dtr` outside of it fails."""

    @classmethod
    def with_image(cls, folder, image):
        world = cls.copy(folder / "world")
        (world.folder / "containers/dtr.sif").symlink_to(image)
        (folder / "outside").mkdir()
        (folder / "outside/dtr").write_text("#!/bin/sh\necho this is not the container >&2\nexit 1\n")
        (folder / "outside/dtr").chmod(0o755)
        world.programs = [str(folder / "outside"), *world.programs]
        return world


def test_the_image_says_what_it_is_and_passes_its_own_test(image):
    check_image(image)
    told = labels(image)
    assert told[LABEL] == sha256_file(ROOT / "envs/lock.txt") and told["dtr.version"] == "0.1.0"
    print(done("apptainer", "test", "--bind", f"{ROOT}:/srv", image))


def test_another_lock_is_refused_before_the_first_job_and_inside(image, tmp_path, monkeypatch):
    world = Contained.with_image(tmp_path, image)
    world.edit("envs/lock.txt", "\nruff==", "\nruff==9")
    said = world.snakemake(*CONTAINERS, "--", "artifacts/smoke/demos/embedded_spatial", check=False)
    assert "make image" in said and "rule demonstrate" not in said.split("Select jobs")[-1]
    monkeypatch.chdir(world.folder)
    inside = subprocess.run(["apptainer", "exec", image, "dtr", "store", "check"], capture_output=True, text=True, check=False)
    assert inside.returncode == 2 and "this container holds the packages of lock" in inside.stderr
    monkeypatch.setattr("dtr.workflow.image.LOCK", world.folder / "envs/lock.txt")
    with pytest.raises(OtherLock):
        check_image(image)


def test_table_1_alone(image, tmp_path):
    world = Contained.with_image(tmp_path, image)
    start = time.monotonic()
    world.snakemake(*CONTAINERS, "--", TABLE)
    print(f"\n[{time.monotonic() - start:7.1f} s] Table 1, smoke scale, in the container\n{(world.folder / TABLE).read_text()}")
    assert (world.folder / "work/cache/dtr").is_dir()
    assert world.plan("--", TABLE) == {} and world.plan(*CONTAINERS, "--", TABLE) == {}


def test_table_1_under_slurm(image, tmp_path):
    with cluster() as slurm:
        world = Contained.with_image(tmp_path, image)
        start = time.monotonic()
        threads = ("--set-threads", "rollout=2", "demonstrate=2")
        world.run("snakemake", *SMOKE, *PROFILE, *threads, *CONTAINERS, "--", TABLE)
        print(f"\n[{time.monotonic() - start:7.1f} s] the same under Slurm\n{(world.folder / TABLE).read_text()}")
        assert {job["JobState"] for job in slurm.jobs()} == {"COMPLETED"} and len(slurm.jobs()) == 27
        assert world.plan("--", TABLE) == {}


def test_it_draws_without_a_gpu_both_ways_and_names_nvidias_library(image):
    for library in ("egl", "osmesa"):
        said = done("apptainer", "exec", "--env", f"MUJOCO_GL={library}", image, "dtr", "doctor", cwd=ROOT)
        assert re.search(rf"ok +GL library +{library} ", said) and re.search(r"ok +GL frame .*llvmpipe", said), said
        print(said)
    vendors = Path("/usr/share/glvnd/egl_vendor.d")
    found = {name: done("apptainer", "exec", image, "cat", vendors / name) for name in ("10_nvidia.json", "50_mesa.json")}
    assert {name: json.loads(text)["ICD"]["library_path"] for name, text in found.items()} == {
        "10_nvidia.json": "libEGL_nvidia.so.0",  # asked first; without `--nv` it is not there and Mesa's is
        "50_mesa.json": "libEGL_mesa.so.0",
    }


def test_folders_outside_the_checkout_are_bound(image, tmp_path, monkeypatch):
    """As docs/cluster.md says. Not below /tmp, which is always bound."""
    world = Contained.with_image(tmp_path, image)
    with tempfile.TemporaryDirectory(dir="/srv") as disk:
        (world.folder / "work").symlink_to(disk)
        monkeypatch.setenv("APPTAINER_BIND", disk)
        world.snakemake(*CONTAINERS, "--", "artifacts/smoke/demos/embedded_spatial")
        assert (Path(disk) / "cache/dtr").is_dir()
