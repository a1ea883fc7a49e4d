# Finished episodes are kept under work/, so a killed run goes on. The records do not depend on the number of workers; two a core, because
# some wait for the policy while others step.
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
        state=f"{paths.WORK}/{{cut}}/{{data}}.{{recipe}}/seed{{seed}}/rollouts/{{protocol}}/{version('rollout')}",
    shell:
        "dtr rollout --policy {input.policy} --suite {wildcards.suite}{wildcards.variant} --protocol {params.protocol:q} {params.device} --workers $((2 * {threads}))"
        " --state-dir {params.state} --out {output.episodes} 2>&1 | tee -i {log}"
