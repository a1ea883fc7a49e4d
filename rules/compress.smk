# What recovery is compared with: the undropped policy after recovery, cut or compressed and left alone. No training.
rule compress:
    input:
        policy=lambda w: paths.RECOVERED.format(
            **{**dict(w.items()), "cut": "none", "recipe": w.recipe.split(".")[0]}
        ),
        plan=paths.PLAN,
    output:
        policy=paths.RECOVERED,
    log:
        "logs/compress/{scale}.{policy}.{cut}.{data}.{recipe}.seed{seed}.log",
    wildcard_constraints:
        recipe=targets.methods(),
    resources:
        **resources_of("compress", targets),
    params:
        stage=token("compress", "drop"),
        method=lambda w: w.recipe.split(".")[1],
    shell:
        "dtr compress --policy {input.policy} --plan {input.plan} --method {params.method}"
        " --out {output.policy} 2>&1 | tee -i {log}"
