# What others publish: weights and demonstrations, at a pinned revision. Fetched files are kept under work/, so a killed run goes on and
# two entries share what they have in common; only what `dtr import` makes of them is an artifact.
rule fetch_policy:
    input:
        data=lambda w: targets.measured(w.policy),
    output:
        policy=paths.PRETRAINED,
    log:
        "logs/fetch/{scale}.{policy}.log",
    wildcard_constraints:
        policy=targets.of_origin("policies", "hub"),
    resources:
        **resources_of("fetch", targets),
    params:
        stage=token("import"),
        entry=lambda w: targets.published("policies", w.policy),
        data=lambda w, input: f"--data {input.data}" if input.data else "",
    shell:
        "(dtr fetch --config {params.entry:q}"
        " && dtr import --config {params.entry:q} {params.data} --out {output.policy}) 2>&1 | tee -i {log}"


rule fetch_demonstrations:
    output:
        data=directory(paths.SUITE),
    log:
        "logs/fetch/{scale}.{suite}.log",
    wildcard_constraints:
        suite=targets.of_origin("demos", "hub"),
    resources:
        **resources_of("fetch", targets),
    params:
        entry=lambda w: targets.published("demos", w.suite),
    shell:
        "dtr fetch --config {params.entry:q} --out {output.data} 2>&1 | tee -i {log}"
