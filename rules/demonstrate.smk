rule demonstrate:
    output:
        demos=directory(paths.SUITE),
    log:
        "logs/demonstrate/{scale}.{suite}.log",
    params:
        stage=token("demonstrate"),
        choice=lambda w: targets.demonstrations(w.suite),
    threads: 2
    shell:
        "dtr demonstrate --suite {wildcards.suite} {params.choice} --processes {threads} --out {output.demos} 2>&1 | tee -i {log}"
