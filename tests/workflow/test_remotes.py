"""Caches elsewhere: over SSH, in a folder, shared by several users. The server, DVC and the users are real; the artifacts are small."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncssh
import pytest
from world import ROOT, World

from dtr.workflow import dvcfile, intact

POLICY, DEMOS = "artifacts/tiny/p/pretrained.safetensors", "artifacts/tiny/demos/s"
CONFIG = """\
[core]
    remote = store
    no_scm = True
    analytics = False
[cache]
    type = copy
['remote "store"']
    url = ../store
"""


@pytest.fixture
def tiny(tmp_path):
    """A repository with a policy and a folder of demonstrations, both in DVC's cache."""
    world = World(tmp_path / "repository")
    for path, data in ((POLICY, "weights"), (f"{DEMOS}/a.npz", "a"), (f"{DEMOS}/b.npz", "b"), (".dvc/config", CONFIG)):
        (world.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (world.folder / path).write_text(data)
    (world.folder / "src").symlink_to(ROOT / "src")
    stages = {
        name: {"cmd": f"snakemake -- {out}", "outs": [{out: {"persist": True}}]} for name, out in (("policy", POLICY), ("demos", DEMOS))
    }
    (world.folder / "dvc.yaml").write_text(dvcfile.dump({"vars": [{"scale": "tiny"}], "stages": stages}))
    world.run("dvc", "commit", "--force", "--quiet", "policy", "demos")
    return world


def forget(world):
    """As in a fresh clone."""
    shutil.rmtree(world.folder / "artifacts")
    shutil.rmtree(world.folder / ".dvc/cache", ignore_errors=True)


@pytest.fixture
def box(tmp_path, monkeypatch):
    """An SSH server: the folder that it offers, its port, the key that it lets in. Its own key is a known host's."""
    home, offered = tmp_path / "home", tmp_path / "offered"
    (home / ".ssh").mkdir(parents=True)
    offered.mkdir()
    keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("host", "user")}
    for name, key in keys.items():
        key.write_private_key(str(home / name))
        key.write_public_key(str(home / f"{name}.pub"))
    command = [sys.executable, str(ROOT / "tests/workflow/ssh_server.py"), str(offered), str(home / "host"), str(home / "user.pub")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as server:
        port = int(server.stdout.readline())
        (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {(home / 'host.pub').read_text()}")
        monkeypatch.setenv("HOME", str(home))
        yield offered, port, home / "user"
        server.terminate()


def test_a_remote_over_ssh_and_a_policy_that_was_tampered_with_there(tiny, box):
    offered, port, key = box
    tiny.run("dvc", "remote", "add", "--local", "box", f"ssh://127.0.0.1:{port}/cache")
    for option, value in (("user", "someone"), ("keyfile", str(key))):
        tiny.run("dvc", "remote", "modify", "--local", "box", option, value)
    tiny.run("dvc", "push", "--remote", "box")
    forget(tiny)
    tiny.run("dtr", "store", "pull", "--remote", "box")
    assert (tiny.folder / POLICY).read_text() == "weights" and (tiny.folder / DEMOS / "b.npz").read_text() == "b"

    md5 = intact.md5_file(tiny.folder / POLICY)
    there = intact.object_path(offered / "cache", md5)
    there.chmod(0o644)
    there.write_text("WEIGHTS")
    forget(tiny)
    said = tiny.run("dtr", "store", "pull", "--remote", "box", check=False)
    assert said.count("error:") == 1 and POLICY in said and md5 in said and "tampered with" in said and "Traceback" not in said
    assert not (tiny.folder / POLICY).exists()
    there.write_text("weights")
    tiny.run("dtr", "store", "pull", "--remote", "box")
    assert (tiny.folder / POLICY).read_text() == "weights"


def test_a_remote_that_lacks_an_object_says_which(tiny, tmp_path):
    tiny.run("dvc", "remote", "add", "--local", "folder", str(tmp_path / "remote"))
    tiny.run("dvc", "push", "--remote", "folder")
    md5 = intact.md5_file(tiny.folder / POLICY)
    intact.object_path(tmp_path / "remote", md5).unlink()
    forget(tiny)
    said = tiny.run("dtr", "store", "pull", "--remote", "folder", check=False)
    assert said.count("error:") == 1 and POLICY in said and "Traceback" not in said


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to become two other users")
def test_two_users_share_one_cache(tiny):
    """At the same time, each with a clone of their own, into one cache of their group: both end whole, and nobody locks the other out.

    The users may read everything, since Python itself can lie in a folder of root's; what they may write is what is tested.
    """
    group, users = 54321, (54322, 54323)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shared = folder / "cache"
        shared.mkdir()
        os.chown(shared, 0, group)
        shared.chmod(0o2775)
        tiny.run("dvc", "push")
        tiny.run("dvc", "cache", "dir", str(shared))
        tiny.run("dvc", "config", "cache.shared", "group")
        forget(tiny)
        shutil.copytree(tiny.folder.parent / "repository/store", folder / "store")
        running = []
        for user in users:
            own = folder / str(user)
            shutil.copytree(tiny.folder, own, symlinks=True, ignore=shutil.ignore_patterns("artifacts", "tmp", "store"))
            (own / "home").mkdir()
            for path in (own, *own.rglob("*")):
                os.chown(path, user, group, follow_symlinks=False)
            (own / "store").symlink_to(folder / "store")
            capability = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
            become = ("setpriv", "--reuid", str(user), "--regid", str(group), "--clear-groups", *capability)
            command = [*become, sys.executable, "-m", "dtr.cli", "store", "pull"]
            environment = os.environ | {
                "PYTHONPATH": str(ROOT / "src"),
                "HOME": str(own / "home"),
                "USER": str(user),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            running.append(subprocess.Popen(command, cwd=own, env=environment, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL))
        said = [process.communicate()[1] for process in running]
        assert [process.returncode for process in running] == [0, 0], "\n".join(said)
        for user in users:
            assert (folder / str(user) / POLICY).read_text() == "weights" and (folder / str(user) / DEMOS / "a.npz").exists()
        for path in shared.rglob("*"):
            mode = path.stat().st_mode
            assert path.stat().st_gid == group and mode & stat.S_IRGRP and (not path.is_dir() or mode & stat.S_IWGRP), path
        (folder / str(users[0]) / POLICY).write_text("changed by one user")  # a copy: not the cache's own file
        md5 = intact.md5_file(folder / str(users[1]) / POLICY)
        assert intact.md5_file(intact.object_path(shared, md5)) == md5
        assert (folder / str(users[1]) / POLICY).read_text() == "weights"
