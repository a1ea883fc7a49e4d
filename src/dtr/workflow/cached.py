"""What is cached, from a configuration and its sheets: the stages of dvc.yaml. `dtr store write` writes them down.

One stage of DVC is what is made, missing or wrong together: a policy with its plan and cost, the episodes of one suite, a table.

    arm@<arm>          the policy of an arm, with the plan and the cost of its cut        recovery@<arm>   ... whose cut another arm has
    rollouts@<arm>-<suite>        compressed@<arm>        plans@<policy>-<cut>, costs@...: not recovered        scores@<policy>-<metric>

An arm is called by its cut, and by what differs from the first arm of the first policy: `language-half`, `pi05-none`, `none-seed1`.
What follows in seconds from what is cached (pictures, dropped policies) is not cached; what was measured (times) is, with its machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from types import SimpleNamespace

from dtr.workflow import paths
from dtr.workflow.config import Arm
from dtr.workflow.exhibits import Exhibits
from dtr.workflow.pressure import FIGURE as PRESSURE
from dtr.workflow.pressure import SAID, Pressure
from dtr.workflow.targets import SIZES, SPEED, TRAINING, Targets, trained_by

PERSIST = {"persist": True}
"""DVC must not delete an output before it runs a stage: Snakemake decides what is made again."""
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "demonstrations": (("artifacts/${scale}/demos/${item}",), ()),
    "checked": (("artifacts/${scale}/checked/${item}.json",), ()),
    "checkpoint": (("artifacts/${scale}/${item}/pretrained.safetensors",), (".losses.jsonl", ".run.json")),
    "imported": (("artifacts/${scale}/${item}/pretrained.safetensors",), (".run.json",)),
    "scores": (("artifacts/${scale}/${item.score}",), ()),
    "plans": (("artifacts/${scale}/${item.cut}/plan.json",), ()),
    "costs": (("artifacts/${scale}/${item.cut}/cost.json",), ()),
    "recovery": (("artifacts/${scale}/${item.cut}/${item.recovery}/recovered.safetensors",), (".losses.jsonl", ".run.json")),
    "compressed": (("artifacts/${scale}/${item.cut}/${item.recovery}/recovered.safetensors",), (".run.json",)),
    "rollouts": (("artifacts/${scale}/${item.arm}/rollouts/${item.episodes}.jsonl",), (".run.json",)),
    "canary": (("artifacts/${scale}/${item.arm}/canary/${item.protocol}.json",), ()),
    "latency": (("artifacts/${scale}/${item.cut}/latency${item.kernels}.json",), ()),
}
"""Group -> what Snakemake is asked for, and what lies beside the last of it."""
PARTS["arm"] = ((*PARTS["recovery"][0], *PARTS["costs"][0]), ())


def outputs(group: str) -> list[str]:
    """What a stage of the group caches."""
    if group == "arm":
        return [*PARTS["plans"][0], *PARTS["costs"][0], *outputs("recovery")]
    made, beside = PARTS[group]
    return [*made, *(made[-1] + suffix for suffix in beside)]


@dataclass
class Cache:
    """The stages of one configuration, collected table by table."""

    targets: Targets
    items: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """Group -> key -> what fills the group's paths."""
    used: dict[str, dict[str, None]] = field(default_factory=dict)
    """Table -> the files that it is made of, in order."""
    cut_of: dict[tuple[str, str], str] = field(default_factory=dict)
    """(policy, cut) -> the stage that has its plan and cost."""

    @cached_property
    def pressing(self) -> list[Arm]:
        """The arms of the control of language that run."""
        return [arm for arm in Pressure(self.targets).arms if arm.runs(self.targets.scale)]

    def add(self, table: str, group: str, key: str, **item: str) -> None:
        """One stage, and that `table` is made of it."""
        self.items.setdefault(group, {}).setdefault(key, item)
        for path in PARTS[group][0]:
            made = path.replace("${scale}", self.targets.scale).replace("${item}", key)
            for name, value in item.items():
                made = made.replace(f"${{item.{name}}}", value)
            self.used.setdefault(table, {})[made] = None

    def relative(self, path: str) -> str:
        """A path without the folder of the scale's artifacts."""
        return path.removeprefix(f"artifacts/{self.targets.scale}/")

    def name(self, arm: Arm, seed: int) -> str:
        """The key of an arm: its cut, and what differs from the first arm of all, or of its policy."""
        t = self.targets
        running = [*(other for table in t.sheets for other in t.running(table)), *self.pressing]
        first = next((other for other in running if (other.policy, other.method) == (arm.policy, "-")), arm)
        parts = [] if arm.policy == next(iter(t.config["policies"])) else [arm.policy]
        parts += [arm.cut, *([] if (arm.data, trained_by(arm)) == (first.data, first.recipe) else [f"{arm.data}.{trained_by(arm)}"])]
        return "-".join([*parts, *([] if seed == first.seeds[0] else [f"seed{seed}"])])

    def add_policy(self, table: str, policy: str) -> None:
        """A policy that everything starts from, and what it is trained or measured on."""
        entry = self.targets.config["policies"][policy]
        mixtures = [entry["pretraining"]["data"]] if "pretraining" in entry else []
        for suite in [suite for mixture in mixtures for suite in self.targets.config["data"][mixture]]:
            self.used.setdefault(table, {})[paths.SUITE.format(scale=self.targets.scale, suite=suite)] = None
        self.add(table, "checkpoint" if "pretraining" in entry else "imported", policy)

    def add_score(self, table: str, score: str) -> None:
        """A score file."""
        policy, _, _, metric = self.relative(score).removesuffix(".json").split("/")
        calibration = self.targets.config["policies"][policy]["calibration"]
        self.add_data(table, self.targets.config["calibrations"][calibration]["data"])
        self.add(table, "scores", f"{policy}-{metric}", score=self.relative(score))

    def add_data(self, table: str, data: str) -> None:
        """The demonstrations of a mixture, and what was found in fetched ones."""
        for suite in self.targets.config["data"][data]:
            self.add(table, "demonstrations", suite)
        for found in self.targets.checked(data):
            self.add(table, "checked", found.rpartition("/")[2].removesuffix(".json"))

    def add_arm(self, table: str, arm: Arm, columns: list[str]) -> None:
        """The policies of an arm, of every training seed, all that they come from, and what is measured of them for `columns`."""
        t = self.targets
        self.add_policy(table, arm.policy)
        self.add_data(table, arm.data)
        for score in t.scores(arm.policy, arm.cut):
            self.add_score(table, score)
        if arm.method != "-":
            self.add_arm(table, replace(arm, cut="none", method="-"), [])
        cut, sized = f"{arm.policy}/{arm.cut}", bool(set(SIZES) & set(columns))
        for seed in arm.seeds:
            key, recovery = self.name(arm, seed), f"{arm.data}.{trained_by(arm)}/seed{seed}"
            group = "recovery" if arm.method == "-" else "compressed"
            owner = self.cut_of.setdefault(
                (arm.policy, arm.cut), f"arm@{key}" if group == "recovery" and sized else f"plans@{arm.policy}-{arm.cut}"
            )
            if owner == f"arm@{key}":
                group = "arm"
            elif owner.startswith("plans@"):
                self.add(table, "plans", f"{arm.policy}-{arm.cut}", cut=cut)
                if sized:
                    self.add(table, "costs", f"{arm.policy}-{arm.cut}", cut=cut)
            elif sized:
                self.used.setdefault(table, {})[t.cost(arm)] = None
            self.add(table, group, key, cut=cut, recovery=recovery)
        for path in dict.fromkeys(path for column in columns for path in self.measured(table, arm, column)):
            self.add_measured(table, arm, path)

    def measured(self, table: str, arm: Arm, column: str) -> list[str]:
        """What is measured of an arm for one column."""
        t = self.targets
        times = [t.latency(arm)] if column in (*SPEED, "task_speedup") else []
        return times + ([] if column in (*SIZES, *TRAINING, *SPEED) else t.episodes(arm, column, "", table))

    def add_measured(self, table: str, arm: Arm, path: str) -> None:
        """Episodes of an arm, or its times."""
        if "/rollouts/" not in path:
            cut, name = self.relative(path).rsplit("/", 1)
            kernels = name.removeprefix("latency").removesuffix(".json")
            self.add(table, "latency", f"{arm.policy}-{arm.cut}{kernels}", cut=cut, kernels=kernels)
            return
        folder, episodes = self.relative(path).removesuffix(".jsonl").split("/rollouts/")
        protocol, suite = episodes.split("/")
        usual = self.targets.protocol(replace(arm, protocol=next(iter(self.targets.config["protocols"]))), "")
        own = [] if protocol == usual else [protocol]
        self.add(
            table, "rollouts", "-".join([self.name(arm, int(folder.rpartition("seed")[2])), *own, suite]), arm=folder, episodes=episodes
        )
        for found in self.targets.canary(SimpleNamespace(policy=arm.policy, protocol=protocol)):
            where = self.relative(found).split("/canary/")[0]
            self.add(table, "canary", f"{arm.policy}-{protocol}", arm=where, protocol=protocol)


def collect(targets: Targets) -> Cache:
    """Every stage of every table, then what the report shows beside them, then policies that no arm starts from yet."""
    cache = Cache(targets)
    for table in targets.sheets:
        for arm in targets.running(table):
            cache.add_arm(table, arm, targets.columns(table))
        for score in targets.gradients(table):
            cache.add_score(table, score)
    pressure = Pressure(targets)
    for arm in cache.pressing:
        cache.add_arm(PRESSURE, arm, [])
        for episodes in [path for name in arm.played for said in SAID for path in pressure.episodes(arm, name, said)]:
            cache.add_measured(PRESSURE, arm, episodes)
    exhibits = Exhibits(targets)
    for policy in [policy for policy, entry in targets.config["policies"].items() if "pretraining" in entry]:
        cache.add_policy("report", policy)
        if any(arm.policy == policy for _, arm in exhibits.arms()):
            for score in exhibits.scores(policy):
                cache.add_score("report", score)
    for arm in exhibits.compared().values():
        if (arm.policy, arm.cut) not in cache.cut_of:
            cache.add("report", "plans", f"{arm.policy}-{arm.cut}", cut=f"{arm.policy}/{arm.cut}")
    return cache


def stages(targets: Targets) -> dict[str, dict[str, object]]:
    """The `stages` of dvc.yaml."""
    cache, scale = collect(targets), targets.scale
    snakemake = "snakemake --" if scale == DEFAULT else f"snakemake --configfile config/{scale}.yaml --"
    found: dict[str, dict[str, object]] = {}
    pretraining = [policy["pretraining"]["data"] for policy in targets.config["policies"].values() if "pretraining" in policy]
    suites = dict.fromkeys(suite for data in pretraining for suite in targets.config["data"][data])
    if early := [suite for suite in suites if suite not in cache.items.get("demonstrations", {})]:
        found["pretraining"] = stage(snakemake, [path(scale, f"demos/{suite}") for suite in early])
    scores = cache.items.get("scores", {})
    usual = f"{next(iter(targets.config['policies']))}-gateprobe"
    if usual in scores:  # what every other metric is held against has no key
        found["score"] = stage(snakemake, [path(scale, scores.pop(usual)["score"])])
    for group in [group for group in ORDER if cache.items.get(group)]:
        items = cache.items[group]
        template = stage(snakemake, list(PARTS[group][0]), outputs(group))
        found[group] = {"foreach": items if any(items.values()) else list(items), "do": template}
    for table in targets.sheets:
        outs = [f"results/{scale}/cells/{table}", *both(f"results/{scale}/{table}"), *both(f"results/{table}")]
        found[table] = stage(snakemake, [f"results/{table}.csv"], outs, list(cache.used.get(table, ())))
    control = Pressure(targets) if PRESSURE in cache.used else None
    if control:
        csv, contrasts = control.tables()
        outs = [*both(csv.removesuffix(".csv")), contrasts, *control.cells()]
        found[PRESSURE] = stage(snakemake, [csv], outs, list(cache.used[PRESSURE]))
    outs = [*both(f"results/{scale}/verdicts"), f"results/{scale}/figures", f"results/{scale}/report.html"]
    outs += [*both("results/verdicts"), "results/report.html"]
    made_of = [
        *Exhibits(targets).tables(),
        *(control.tables() if control else ()),
        *(path for path in cache.used.get("report", {}) if "/scores/" in path or path.endswith("/plan.json")),
    ]
    found["report"] = stage(snakemake, ["results/report.html", "results/verdicts.csv"], outs, made_of)
    found["records"] = {"cmd": "dtr store push", "frozen": True, "outs": [{f"artifacts/{scale}/records.json": PERSIST}]}
    return found


STARTS = {"pretraining", "demonstrations", "checkpoint", "imported", "records"}
"""What every arm starts from, and Snakemake's records: counted by itself, not in a table."""
DEFAULT = "embedded"
"""The scale that Snakemake builds without --configfile."""
ORDER = (
    "demonstrations",
    "checked",
    "checkpoint",
    "imported",
    "scores",
    "arm",
    "recovery",
    "plans",
    "costs",
    "compressed",
    "canary",
    "rollouts",
    "latency",
)


def stage(snakemake: str, asked: list[str], outs: list[str] | None = None, made_of: list[str] | None = None) -> dict[str, object]:
    """One stage: what Snakemake is asked for, what of it is cached, and what it is made of.

    What is made of other stages is handed to Snakemake every time: DVC does not see an edit of the configuration, Snakemake does.
    """
    entry: dict[str, object] = {"cmd": " ".join([snakemake, *asked])}
    if made_of is not None:
        entry |= {"always_changed": True, "deps": made_of}
    return entry | {"outs": [{out: PERSIST} for out in (outs or asked)]}


def both(name: str) -> list[str]:
    """A table as CSV and as Markdown."""
    return [f"{name}.csv", f"{name}.md"]


def path(scale: str, name: str) -> str:
    """A path in the folder of the scale's artifacts."""
    return f"artifacts/{scale}/{name}"
