"""Drop-Then-Recovery: `snakemake -- results/table1.csv`, or any other file that a rule below can make.

One rule file a stage. What a rule passes to `dtr <verb>` is all that its output depends on; dtr.workflow.paths says where
everything lies, config/ what is built at which scale, dtr.stages what makes a stage run again.
"""

import json
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

from dtr.errors import DtrError
from dtr.report.figures.captions import caption
from dtr.sim.perturbations.variant import split
from dtr.sim.suites import suite_digest
from dtr.stages import token, version
from dtr.workflow import paths
from dtr.workflow.adoption import adopt
from dtr.workflow.exhibits import Exhibits, words
from dtr.workflow.image import IMAGE, check_image
from dtr.workflow.pressure import Pressure
from dtr.workflow.resources import resources_of
from dtr.workflow.running import alone
from dtr.workflow.slurm import end_orphans
from dtr.workflow.targets import Targets

min_version("9.27.1")

if (
    "scale" not in config
):  # --configfile replaces the default configuration; Snakemake would merge the two

    configfile: f"{workflow.basedir}/config/embedded.yaml"


try:
    targets = Targets(config, workflow.basedir)
    exhibits = Exhibits(targets)
    pressure = Pressure(targets)
    adopt(targets.scale)
except DtrError as error:
    raise WorkflowError(str(error))


# Of every rule: one image holds policy and simulator. Used with --software-deployment-method apptainer; containers/README.md
container: IMAGE


wildcard_constraints:
    **targets.constraints(),


rule all:
    default_target: True
    input:
        [f"results/{table}.csv" for table in config["tables"]],


# Seconds of bookkeeping: not worth a job of a cluster. All other rules say what they need.
localrules:
    all,
    cost_cell,
    success_cell,
    training_cell,
    speed_cell,
    task_cell,
    table,
    show,
    verdict,
    show_verdicts,
    pressure,
    pressure_figure,
    figure,
    page,
    show_page,


include: "rules/fetch.smk"
include: "rules/demonstrate.smk"
include: "rules/render.smk"
include: "rules/check_data.smk"
include: "rules/checkpoint.smk"
include: "rules/score.smk"
include: "rules/stability.smk"
include: "rules/drop.smk"
include: "rules/recover.smk"
include: "rules/compress.smk"
include: "rules/canary.smk"
include: "rules/rollout.smk"
include: "rules/cost.smk"
include: "rules/latency.smk"
include: "rules/cell.smk"
include: "rules/table.smk"
include: "rules/verdict.smk"
include: "rules/pressure.smk"
include: "rules/figure.smk"
include: "rules/report.smk"


onstart:
    try:
        alone()
        if (
            DeploymentMethod.APPTAINER
            in workflow.deployment_settings.deployment_method
        ):
            check_image(Path(IMAGE))
        end_orphans(Path.cwd())
    except DtrError as error:
        raise WorkflowError(str(error))
