"""Fetching from a hub on the loopback: pinned, whole, resumed; every way to fail is one sentence."""

import hashlib
import json
import shutil
import socket

import pytest
from hub_server import REVISION, Hub

from dtr.cli import run
from dtr.errors import BadConfig, DiskFull, FetchFailed
from dtr.hub import fetch as verb
from dtr.hub.download import HuggingFace
from dtr.hub.fetch import fetch, recorded
from dtr.hub.manifest import Source, matching

FILES = {
    "model.safetensors": bytes(range(256)) * 40,
    "config.json": b'{"a": 1}',
    "lora/model.safetensors": b"not asked for",
    "meta/info.json": b"{}",
}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    server = Hub(dict(FILES))
    yield server
    server.close()


def source(*patterns, revision=REVISION, **sha256):
    return Source("some/repo", "model", revision, patterns or ("model*.safetensors", "config.json"), sha256)


def test_it_fetches_what_is_asked_for_once(hub, tmp_path):
    folder = fetch(source(), HuggingFace(hub.endpoint), tmp_path)
    assert folder == tmp_path / f"some/repo@{REVISION}"
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {".partial/.lock"}
    assert files == {"model.safetensors", "config.json", "fetched.json"}
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert recorded(folder)["config.json"] == {"bytes": 8, "sha256": hashlib.sha256(FILES["config.json"]).hexdigest()}
    asked = hub.asked
    assert fetch(source(), HuggingFace(hub.endpoint), tmp_path) == folder and hub.asked == asked  # needs no network
    fetch(source("model.safetensors", "meta/info.json"), HuggingFace(hub.endpoint), tmp_path)
    assert (folder / "meta/info.json").exists() and len(hub.ranges) == 3  # only what was not there
    (folder / "config.json").write_bytes(b"{}")
    assert (fetch(source(), HuggingFace(hub.endpoint), tmp_path) / "config.json").read_bytes() == FILES["config.json"]


def test_it_goes_on_where_a_download_stopped(hub, tmp_path):
    partial = tmp_path / f"some/repo@{REVISION}/.partial/model.safetensors"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(FILES["model.safetensors"][:7000])
    folder = fetch(source("model.safetensors"), HuggingFace(hub.endpoint), tmp_path)
    assert hub.ranges == [7000] and (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_other_bytes_than_promised_are_refused(hub, tmp_path):
    partial = tmp_path / f"some/repo@{REVISION}/.partial/model.safetensors"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 7000)
    got = hashlib.sha256(b"x" * 7000 + FILES["model.safetensors"][7000:]).hexdigest()
    want = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    with pytest.raises(FetchFailed, match=f"should have SHA-256 {want}, got {got}"):
        fetch(source("model.safetensors"), HuggingFace(hub.endpoint), tmp_path)
    assert not partial.exists() and not (partial.parents[1] / "model.safetensors").exists()
    fetch(source("model.safetensors"), HuggingFace(hub.endpoint), tmp_path)
    with pytest.raises(FetchFailed, match=f"SHA-256 {'1' * 64}, the one here has {want}"):
        fetch(source("model.safetensors", **{"model.safetensors": "1" * 64}), HuggingFace(hub.endpoint), tmp_path)
    with pytest.raises(FetchFailed, match=f"should have SHA-256 {'2' * 64}"):
        fetch(source("config.json", **{"config.json": "2" * 64}), HuggingFace(hub.endpoint), tmp_path)


def test_failures_on_the_way_are_one_sentence(hub, tmp_path, monkeypatch):
    remote = HuggingFace(hub.endpoint)
    with pytest.raises(BadConfig, match=r"some/repo has no revision: look at the one that `dtr fetch --resolve` prints"):
        fetch(source(revision=None), remote, tmp_path)
    with pytest.raises(FetchFailed, match=f"has no revision {'0' * 40}: `dtr fetch --resolve`"):
        fetch(source(revision="0" * 40), remote, tmp_path)
    with pytest.raises(FetchFailed, match=r"no file 'model-\*.safetensors', only config.json"):
        fetch(source("model-*.safetensors"), remote, tmp_path)
    with pytest.raises(FetchFailed, match="the hub has no model some/other"):
        fetch(Source("some/other", "model", REVISION, ("x",), {}), remote, tmp_path)
    hub.gated = True
    with pytest.raises(FetchFailed, match=r"is gated: accept its licence on the page of some/repo.*hf auth login"):
        fetch(source(), remote, tmp_path)
    hub.gated = False
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=verb.SPARE + 10_000))
    with pytest.raises(DiskFull, match="GB more and the disk has"):
        fetch(source(), remote, tmp_path)
    assert hub.ranges == []  # nothing was fetched in vain


def test_a_download_that_breaks_off_is_one_sentence(hub, tmp_path):
    hub.short = 5000
    with pytest.raises(FetchFailed, match=r"model.safetensors of some/repo broke off on the way"):
        fetch(source(), HuggingFace(hub.endpoint), tmp_path)
    hub.short = None
    fetch(source("model.safetensors"), HuggingFace(hub.endpoint), tmp_path)
    assert hub.ranges[-1] == 5000


def test_no_network_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        with pytest.raises(FetchFailed, match=r"no way to the hub for some/repo at 89ab.*run this on a machine with network"):
            fetch(source(), HuggingFace(f"http://127.0.0.1:{taken.getsockname()[1]}"), tmp_path)


def test_a_name_that_leaves_the_folder_is_refused(hub, tmp_path):
    hub.files["../evil.safetensors"] = b""
    with pytest.raises(FetchFailed, match="lies outside of its folder"):
        fetch(source("../*.safetensors"), HuggingFace(hub.endpoint), tmp_path)


def test_the_verb_resolves_records_and_places(tmp_path, monkeypatch, capsys):
    server = Hub(dict(FILES), "datasets")
    monkeypatch.setattr(verb, "HuggingFace", lambda: HuggingFace(server.endpoint))
    entry = {"hub": {"id": "some/repo", "revision": None, "files": ["meta/*.json"]}}
    try:
        command = ["fetch", "--store", str(tmp_path / "store"), "--config"]
        assert run([*command, json.dumps(entry), "--resolve"]) == 0 and f"revision: {REVISION}" in capsys.readouterr().out
        assert run([*command, json.dumps(entry)]) == 2 and "has no revision" in capsys.readouterr().err
        entry["hub"]["revision"] = REVISION
        assert run([*command, json.dumps(entry), "--record"]) == 0
        assert f"  meta/info.json: {hashlib.sha256(b'{}').hexdigest()}" in capsys.readouterr().out
        assert run([*command, json.dumps(entry), "--out", str(tmp_path / "demos")]) == 0
        assert (tmp_path / "demos/meta/info.json").read_bytes() == b"{}"
    finally:
        server.close()


def test_a_star_does_not_reach_into_a_folder():
    assert matching(FILES, "*.safetensors") == ["model.safetensors"] and matching(FILES, "*/*.json") == ["meta/info.json"]
