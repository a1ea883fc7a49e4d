rule cost:
    input:
        policy=paths.DROPPED,
        baseline=paths.PRETRAINED,
    output:
        cost=paths.COST,
    log:
        "logs/cost/{scale}.{policy}.{cut}.log",
    params:
        stage=token("cost"),
    shell:
        "dtr cost --policy {input.policy} --baseline {input.baseline} --out {output.cost} 2>&1 | tee -i {log}"
