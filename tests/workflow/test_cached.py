"""What is cached follows from the sheets, and DVC reads dvc.yaml as we do."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from world import ROOT

from dtr.errors import BadConfig, BadRecord, MissingAssets, UnknownName
from dtr.workflow import cached, dvcfile, intact, store
from dtr.workflow.exhibits import Exhibits
from dtr.workflow.targets import Targets

EMBEDDED = yaml.safe_load((ROOT / "config/embedded.yaml").read_text())


def targets(**changes):
    return Targets(EMBEDDED | changes, str(ROOT))


def with_more():
    """Tables 1, 2, 3 and 5, perturbed columns, a second seed."""
    tables = {f"table{n}": f"config/experiments/table{n}.tsv" for n in (1, 2, 3)}
    tables["table5"] = {"sheet": "config/experiments/table5.tsv", "columns": ["goal", "camera", "action_speedup", "task_speedup"]}
    changed = EMBEDDED | {"tables": tables, "variants": {"camera": ["camera-1", "camera-3"]}, "profile": ["gateprobe"]}
    more = Targets({key: value for key, value in changed.items() if key != "pressure"}, str(ROOT))
    rows = more.sheets["table1"]
    rows[:] = [replace(arm, seeds=(0, 1)) if arm.cut == "vision-half" else arm for arm in rows]
    return more


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def whole(of):
    named = cached.stages(of)
    return named, dvcfile.parse({"vars": [{"scale": of.scale}], "stages": named})


def write_all(of):
    named, stages = whole(of)
    dvcfile.write(of.scale, named, {out for stage in stages.values() for out in stage.outs})
    return stages


def test_dvc_yaml_is_what_the_sheets_say(folder):
    for name in ("dvc.yaml", "dvc.lock"):
        Path(name).write_bytes((ROOT / name).read_bytes())
    dvcfile.write("embedded", cached.stages(targets()), dvcfile.locked_paths())
    assert Path("dvc.yaml").read_text() == (ROOT / "dvc.yaml").read_text(), "run `dtr store write`"


def test_every_hash_of_this_repository_s_cache_is_named_by_a_stage(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert set(dvcfile.read_lock()) == dvcfile.locked_paths()


def test_new_rows_need_no_line_by_hand_and_names_tell_arms_apart():
    stages = whole(with_more())[1]
    assert {"arm@none", "arm@pi05-none", "recovery@vision-half-seed1", "recovery@pi05-vision-half-seed1", "scores@pi05-gateprobe"} <= set(
        stages
    )
    assert {
        "rollouts@pi05-language-half-embedded_goal",
        "rollouts@none-embedded_goal+camera-3",
        "plans@openvla_oft-language-gateprobe-4",
    } <= set(stages)
    assert {"compressed@none-four.recover.int8", "latency@openvla_oft-none-int8", "table3", "report"} <= set(stages)
    outs = [out for stage in stages.values() for out in stage.outs]
    assert len(outs) == len(set(outs)), "two stages cache the same file"
    made = {path for stage in stages.values() for path in stage.outs}
    assert all(dep in made for stage in stages.values() for dep in stage.deps)


def test_arms_of_the_control_of_language_alone_are_told_apart(folder):
    """A policy that no table shows: its arms differ from the first of the control's own."""
    rows = [line.split("\t") for line in (ROOT / EMBEDDED["pressure"]["sheet"]).read_text().splitlines()]
    number = {name: i for i, name in enumerate(rows[0])}
    found = []
    for data in ("four", "five"):
        row = next(row for row in rows if row[number["cut"]] == "none" and row[number["data"]] == data)
        row[number["policy"]], row[number["recipe"]], row[number["scales"]] = "pi05", "flow_recover", "embedded"
        found.append(row)
    Path("sheet.tsv").write_text("\n".join("\t".join(row) for row in [rows[0], *found]) + "\n")
    alone = {"sheet": os.path.relpath("sheet.tsv", ROOT), "sets": EMBEDDED["pressure"]["sets"]}
    of = targets(pressure=alone, tables={"table2": "config/experiments/table2.tsv"})
    of.sheets["table2"][:] = [arm for arm in of.sheets["table2"] if arm.policy != "pi05"]
    made = {path for stage in whole(of)[1].values() for path in stage.outs}
    assert {f"artifacts/embedded/pi05/none/{data}.flow_recover/seed0/recovered.safetensors" for data in ("four", "five")} <= made


def test_dvc_reads_it_as_we_do(folder):
    stages = write_all(with_more())
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    from dvc.repo import Repo

    found = {}
    for out in Repo().index.outs:
        found.setdefault(str(out.stage.addressing), set()).add(str(Path(str(out.fs_path)).relative_to(folder)))
        assert out.stage.cmd == stages[str(out.stage.addressing)].cmd and out.persist
    assert found == {name: set(stage.outs) for name, stage in stages.items()}


def test_a_table_alone_is_all_that_it_is_made_of_and_no_other(folder):
    write_all(with_more())
    one = dvcfile.made_of(["table5"])
    assert {"records", "pretraining", "checkpoint@openvla_oft", "arm@none", "plans@openvla_oft-language-gateprobe-4", "score"} <= set(one)
    assert not any("pi05" in name for name in one) and "rollouts@none-embedded_spatial" not in one
    with pytest.raises(UnknownName, match="did you mean 'table5'"):
        dvcfile.made_of(["tabel5"])


def test_what_has_no_hash_yet_is_not_named(folder):
    named, stages = whole(with_more())
    dvcfile.write("embedded", named, {*stages["arm@none"].outs, *stages["table1"].outs})
    assert set(dvcfile.read_stages()) == {"arm@none", "table1"}
    assert set(dvcfile.read_stages()["table1"].deps) <= {*stages["arm@none"].outs, *stages["table1"].outs}


def test_hashes_follow_their_paths_to_what_a_stage_is_called_now(folder):
    named, stages = whole(targets())
    outs = [{"path": path, "md5": str(i), "size": 1} for i, path in enumerate(sorted(stages["arm@none"].outs))]
    lock = {"before@none": {"cmd": "old", "outs": outs}, "gone": {"cmd": "c", "outs": [{"path": "x", "md5": "9"}]}}
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    assert dvcfile.write("embedded", named, dvcfile.locked_paths())
    after = yaml.safe_load(Path("dvc.lock").read_text())
    assert after["stages"] == {"arm@none": {"cmd": stages["arm@none"].cmd, "outs": outs}}
    assert not dvcfile.write("embedded", named, dvcfile.locked_paths())


def test_the_limit_is_a_table_s(folder, monkeypatch):
    stages = write_all(with_more())
    lock = {
        name: {"cmd": "c", "outs": [{"path": out, "md5": f"{name}{out}", "size": 10**6} for out in stage.outs]}
        for name, stage in stages.items()
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    sizes = store.cached_mb()
    assert sizes["table1"] > sizes["table2"] > 10 and sizes["report"] < 20
    assert sizes[""] == len([out for name, stage in stages.items() if name.split("@")[0] in cached.STARTS for out in stage.outs])
    Path("store").mkdir()
    monkeypatch.setattr(store, "LIMIT_MB", sizes["table1"] - 1)
    with pytest.raises(BadRecord, match=r"table1 has .* MB in store/, more than the .* of one table"):
        store.check()
    monkeypatch.setattr(store, "LIMIT_MB", max(sizes.values()) + 1)  # all tables together have more
    with pytest.raises(MissingAssets, match="lacks artifacts/embedded/"):
        store.check()


def test_a_dvc_yaml_by_hand_is_one_sentence(folder):
    Path("dvc.yaml").write_text("stages: {a: {cmd: x}}\n")
    with pytest.raises(BadConfig, match="is not as `dtr store write` writes it"):
        dvcfile.read_stages()


@pytest.fixture
def objects(folder):
    """A store with a file and a folder of two files."""

    def put(text):
        md5 = intact.hashlib.md5(text.encode()).hexdigest()
        path = intact.object_path(Path("store"), md5)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return md5

    members = intact.json.dumps([{"relpath": name, "md5": put(name)} for name in ("a.npz", "b.npz")])
    listing = put(members)
    intact.object_path(Path("store"), listing).rename(intact.object_path(Path("store"), listing + ".dir"))
    return {"policy": {"md5": put("weights")}, "demos": {"md5": listing + ".dir"}}


@pytest.mark.parametrize(("artifact", "named"), [("policy", "policy"), ("demos", "demos/a.npz"), ("demos", "demos")])
def test_a_missing_or_damaged_object_is_named_with_the_remedy(objects, artifact, named):
    root = Path("store")
    intact.check_store(root, objects)
    md5 = dict(intact.objects(root, objects))[named]
    path = intact.object_path(root, md5)
    if named != "demos":  # with other names the list of a folder is still a list
        path.write_bytes(path.read_bytes()[::-1])
    else:
        path.write_text(path.read_text().replace("b.npz", "c.npz"))
    with pytest.raises(BadRecord, match=rf"^{named} in store/ is damaged or was tampered with.*`git checkout -- store`"):
        intact.check_store(root, objects)
    path.unlink()
    if named != "demos":
        with pytest.raises(MissingAssets, match=rf"^store/ lacks {named}: bring it back"):
            intact.check_store(root, objects)


def test_a_tampered_policy_is_refused_by_its_hash_and_removed(objects):
    root = Path("store")
    Path("policy").write_text("weights")
    Path("demos").mkdir()
    for name in ("a.npz", "b.npz"):
        Path("demos", name).write_text(name)
    intact.check_pulled(root, objects)
    Path("policy").write_text("WEIGHTS")
    with pytest.raises(BadRecord, match=r"policy did not come as dvc\.lock names it.*refused and removed.*`snakemake -- policy`"):
        intact.check_pulled(root, objects)
    assert not Path("policy").exists() and not intact.object_path(root, objects["policy"]["md5"]).exists()


def test_only_what_nothing_names_is_pruned(objects):
    root = Path("store")
    stray = intact.object_path(root, "f" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("an older artifact")
    assert intact.prune(root, objects) == 1 and not stray.exists()
    intact.check_store(root, objects)


def test_the_plans_that_claims_compare_are_cached():
    """A rule reads nothing that is not cached: also of arms that are not trained here."""
    of = targets()
    _, stages = whole(of)
    assert set(Exhibits(of).compared_plans().values()) <= {out for stage in stages.values() for out in stage.outs}
