# Where the finished episodes of an unfinished rollout are kept, of one arm under one protocol.
JOURNALS = f"{paths.WORK}/{{cut}}/{{data}}.{{recipe}}/seed{{seed}}/rollouts/{{protocol}}/{version('rollout')}"


# Finished episodes are kept under work/, so a killed run goes on. An arm that is the same policy as one that was played takes its records
# (--siblings). They do not depend on the number of workers; two a core, because some wait for the policy while others step.
rule rollout:
    input:
        policy=paths.RECOVERED,
        canary=lambda w: targets.canary(w),
    output:
        episodes=paths.ROLLOUT,
    log:
        "logs/rollout/{scale}.{policy}.{cut}.{data}.{recipe}.seed{seed}.{protocol}.{suite}{variant}.log",
    threads: 2
    resources:
        **resources_of("rollout", targets),
    params:
        stage=token("rollout"),
        scenes=lambda w: suite_digest(w.suite)
        + split(f"{w.suite}{w.variant}")[1].conditions(),
        device=targets.device,
        protocol=lambda w: targets.protocol_json(w.protocol),
        state=JOURNALS,
    shell:
        "dtr rollout --policy {input.policy} --suite {wildcards.suite}{wildcards.variant} --protocol {params.protocol:q} {params.device} --workers $((2 * {threads}))"
        " --siblings artifacts/{wildcards.scale}/{wildcards.policy}"
        " --state-dir {params.state} --out {output.episodes} 2>&1 | tee -i {log}"


# A column of variants is many short rollouts, and most of a short one's time is starting. So one job plays all of a column: every suite under
# every variant, a file each, with the bytes that a job of its own would write. `snakemake <one of these files>` makes its column.
for column, labels in targets.together().items():

    rule:
        name:
            f"rollout_{column}"
        input:
            policy=paths.RECOVERED,
            canary=lambda w: targets.canary(w),
        output:
            episodes=[
                paths.ROLLOUT.replace("{suite}{variant}", label) for label in labels
            ],
        log:
            f"logs/rollout/{{scale}}.{{policy}}.{{cut}}.{{data}}.{{recipe}}.seed{{seed}}.{{protocol}}.{column}.log",
        threads: 2
        resources:
            **resources_of("rollout", targets, [split(label)[0] for label in labels]),
        params:
            stage=token("rollout"),
            scenes=[
                suite_digest(split(label)[0]) + split(label)[1].conditions()
                for label in labels
            ],
            device=targets.device,
            protocol=lambda w: targets.protocol_json(w.protocol),
            state=JOURNALS,
            suites=labels,
        shell:
            "dtr rollout --policy {input.policy} --suite {params.suites} --protocol {params.protocol:q} {params.device} --workers $((2 * {threads}))"
            " --siblings artifacts/{wildcards.scale}/{wildcards.policy}"
            " --state-dir {params.state} --out {output.episodes} 2>&1 | tee -i {log}"


workflow.ruleorder(*(f"rollout_{column}" for column in targets.together()), "rollout")
