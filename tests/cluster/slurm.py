"""A Slurm cluster of one node, brought up and taken down by the test: Debian's packages, no systemd, root. Two GPUs that are none.

Processors, memory and GPUs are truly scheduled and refused when there are not enough; only the devices behind the GPUs are `/dev/null`.
The plugin clears SLURM_CONF, so the configuration must be reachable in /etc/slurm: that is linked for as long as the cluster is up,
and a machine that has a cluster of its own is left alone.
All limits are long: on a busy machine everything is slow, and nothing waits for them.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

ETC = Path("/etc/slurm")
CONFIGURATION = ("slurm.conf", "gres.conf")
MUNGE = Path("/run/munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CPUS, GPUS = 16, 2
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=86400
MessageTimeout=100
TCPTimeout=60
BatchStartTimeout=300
KillWait=3
OverTimeLimit=0
InactiveLimit=0
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=24:00:00 State=UP
"""


def reason_to_skip():
    """Why there can be no cluster on this machine, or None."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "starting munged, slurmctld and slurmd needs root"
    if any((ETC / name).exists() for name in CONFIGURATION):
        return f"{ETC} is configured: this machine has a cluster, or another test is using it"
    return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(*command, check=True):
    """Output of one of Slurm's programs."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0 or not check, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


class Cluster:
    """The running cluster."""

    def jobs(self):
        """What Slurm knows of every job since the start: one dictionary a job, oldest first."""
        lines = call("scontrol", "show", "job", "--oneliner").splitlines()
        found = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines if line.startswith("JobId=")]
        return sorted(found, key=lambda job: int(job["JobId"]))

    def of(self, rule, words=""):
        """The jobs of a rule, with `words` in their wildcards."""
        return [job for job in self.jobs() if job.get("Comment", "").startswith(f"rule_{rule}") and words in job["Comment"]]

    def cancel(self, job):
        """`scancel`, as a person does it."""
        call("scancel", job)

    def wait(self, condition, what, limit_s=1800):
        """Wait until `condition()` is true and return its value."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"no {what} within {limit_s} s\n{self.jobs()}")


@contextlib.contextmanager
def cluster():
    """Bring the cluster up, hand it out, take it down. (Not in pytest's folder, which munge's user may not enter.)"""
    why = reason_to_skip()
    if why:
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    daemons = []
    try:
        start(folder, daemons)
        yield Cluster()
    finally:
        call("scancel", "--full", "--user=root", check=False)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for name in CONFIGURATION:
            if (ETC / name).is_symlink() and (ETC / name).readlink() == folder / name:
                (ETC / name).unlink()
        shutil.rmtree(folder, ignore_errors=True)


def start(folder, daemons):
    """munged, slurmctld, slurmd in the foreground, as our children; their output in files (a pipe would fill up and hang them)."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    start_munge(folder, daemons)
    for i in range(GPUS):
        os.mknod(folder / f"gpu{i}", 0o666 | 0o020000, os.makedev(1, 3))
    memory_mb = re.search(r"RealMemory=(\d+)", call("slurmd", "-C"))[1]
    ports = {"ctld_port": free_port(), "slurmd_port": free_port()}
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, cpus=CPUS, gpus=GPUS, memory_mb=memory_mb, **ports))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    ETC.mkdir(exist_ok=True)
    for name in CONFIGURATION:
        (ETC / name).unlink(missing_ok=True)  # leads nowhere: of a test that was killed
        (ETC / name).symlink_to(folder / name)
    for program in ("slurmctld", "slurmd"):
        daemons.append(launch(folder, program, "-D"))
    for _ in range(1200):
        if call("sinfo", "--noheader", "--format=%t", check=False).strip() == "idle":
            return
        time.sleep(0.1)
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    raise AssertionError(f"the node did not become idle\n{call('sinfo', check=False)}\n{logs}")


def start_munge(folder, daemons):
    """Slurm's authentication, with a key of its own; one that is running already is used."""
    if not call("munge", "-n", check=False):
        home = folder / "munge"
        home.mkdir()
        (home / "key").write_bytes(os.urandom(1024))
        (home / "key").chmod(0o400)
        MUNGE.mkdir(exist_ok=True)
        for path in (home, home / "key", MUNGE):
            shutil.chown(path, "munge", "munge")
        MUNGE.chmod(0o755)
        options = [f"--{name}={home / name}" for name in ("pid-file", "log-file", "seed-file")]
        as_munge = ("--reuid=munge", "--regid=munge", "--clear-groups")
        daemons.append(launch(folder, "munged", "--foreground", f"--key-file={home}/key", *options, credentials=as_munge))
        for _ in range(600):
            if call("munge", "-n", check=False):
                return
            time.sleep(0.1)
        raise AssertionError((folder / "munged.out").read_text())


def launch(folder, *command, credentials=()):
    """A daemon that ends with this process, however that ends."""
    with open(folder / f"{command[0]}.out", "w") as out:
        follow = ("setpriv", "--pdeathsig=TERM", *credentials, "--")
        return subprocess.Popen([*follow, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
