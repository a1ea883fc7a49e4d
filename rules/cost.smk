rule cost:
    input:
        policy=paths.PRETRAINED,
        plan=paths.PLAN,
    output:
        cost=paths.COST,
    log:
        "logs/cost/{scale}.{policy}.{cut}.log",
    resources:
        **resources_of("cost", targets),
    params:
        stage=token("cost"),
    shell:
        "dtr cost --policy {input.policy} --plan {input.plan} --out {output.cost} 2>&1 | tee -i {log}"
