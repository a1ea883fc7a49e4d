"""The verbs `doctor` and `bench`."""

import argparse
import json

import pytest

from dtr import bench, doctor
from dtr.errors import MissingLibrary, UnknownName


def test_this_machine_is_fit(capsys):
    doctor.run(argparse.Namespace())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(doctor.CHECKS)
    assert not [line for line in lines if line.startswith("FAIL")]


def test_what_is_required_and_missing_fails(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "DISK_GB", 10**9)
    monkeypatch.setattr(doctor, "PYTHONS", ((2, 6), (2, 7)))
    monkeypatch.setattr(doctor, "CHECKS", (doctor.python, doctor.disk, doctor.cores))
    with pytest.raises(MissingLibrary, match="2 required checks failed"):
        doctor.run(argparse.Namespace())
    said = capsys.readouterr().out
    assert "FAIL  python" in said
    assert "-> use Python 2.6 to 2.7" in said


def test_a_hanging_driver_is_no_hanging_doctor(monkeypatch):
    monkeypatch.setattr(doctor, "FRAME_LIMIT_S", 0.05)
    finding = doctor.frame()
    assert not finding.ok
    assert "no frame in 0.05 s" in finding.line()


def test_a_crashing_driver_is_reported(monkeypatch):
    monkeypatch.setattr(doctor.sys, "executable", "/bin/false")
    finding = doctor.frame()
    assert not finding.ok
    assert "apt-get install" in finding.line()


def test_bench_writes_what_it_measured(monkeypatch, tmp_path):
    from dtr.benchmarks import stepping

    monkeypatch.setattr(stepping, "measure", lambda quick: {"quickly": quick})
    bench.run(argparse.Namespace(names=["stepping"], out=tmp_path, quick=True))
    record = json.loads((tmp_path / "stepping.json").read_text())
    assert record["result"] == {"quickly": True}
    assert record["machine"]["cores"] >= 1


def test_an_unknown_benchmark_is_named(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'stepping'"):
        bench.run(argparse.Namespace(names=["steping"], out=tmp_path, quick=True))
