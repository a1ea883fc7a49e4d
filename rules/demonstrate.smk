rule demonstrate:
    output:
        demos=directory(paths.SUITE),
    log:
        "logs/demonstrate/{scale}.{suite}.log",
    wildcard_constraints:
        suite=targets.of_origin("demos", "episodes"),
    threads: 2
    resources:
        **resources_of("demonstrate", targets),
    params:
        stage=token("demonstrate"),
        scenes=lambda w: suite_digest(w.suite),
        choice=lambda w: targets.demonstrations(w.suite),
    shell:
        "dtr demonstrate --suite {wildcards.suite} {params.choice} --processes {threads} --out {output.demos} 2>&1 | tee -i {log}"
