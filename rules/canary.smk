# Three episodes of each suite with the undropped policy, before any long run of its arms: where the configuration has `canary`.
rule canary:
    input:
        policy=paths.RECOVERED,
    output:
        found=paths.CANARY,
    log:
        "logs/canary/{scale}.{policy}.{cut}.{data}.{recipe}.seed{seed}.{protocol}.log",
    threads: 2
    resources:
        **resources_of("canary", targets),
    params:
        stage=token("rollout"),
        device=targets.device,
        suites=list(config["suites"].values()),
        scenes=lambda w: [suite_digest(name) for name in config["suites"].values()],
        protocol=lambda w: targets.protocol_json(w.protocol),
        least=config.get("canary"),
        state=f"{paths.WORK}/{{cut}}/{{data}}.{{recipe}}/seed{{seed}}/canary/{{protocol}}/{version('rollout')}",
    shell:
        "dtr canary --policy {input.policy} --suites {params.suites} --protocol {params.protocol:q} {params.device} --workers {threads}"
        " --least {params.least} --state-dir {params.state} --out {output.found} 2>&1 | tee -i {log}"
