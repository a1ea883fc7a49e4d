# The cut `none` goes the same way: a plan that drops nothing, so that the baseline is recovered by the same recipe.
rule plan:
    input:
        policy=paths.PRETRAINED,
        scores=lambda w: targets.scores(w.policy, w.cut),
    output:
        plan=paths.PLAN,
    log:
        "logs/plan/{scale}.{policy}.{cut}.log",
    resources:
        **resources_of("plan", targets),
    params:
        stage=token("drop"),
        scores=lambda w, input: f"--scores {input.scores}" if input.scores else "",
    shell:
        "dtr drop --policy {input.policy} --cut {wildcards.cut} {params.scores}"
        " --plan-out {output.plan} 2>&1 | tee -i {log}"


# The smaller policy before recovery, for a reader's own use: recovery carries the plan out by itself.
rule drop:
    input:
        policy=paths.PRETRAINED,
        plan=paths.PLAN,
    output:
        policy=paths.DROPPED,
    log:
        "logs/drop/{scale}.{policy}.{cut}.log",
    resources:
        **resources_of("drop", targets),
    params:
        stage=token("drop"),
    shell:
        "dtr drop --policy {input.policy} --plan {input.plan} --out {output.policy} 2>&1 | tee -i {log}"
