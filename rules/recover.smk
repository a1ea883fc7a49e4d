# Two processes an arm, so that one arm is done early; the weights do not depend on it. State is kept under work/, so a killed run goes on.
rule recover:
    input:
        policy=paths.DROPPED,
        data=lambda w: targets.rendered(w.data),
    output:
        policy=paths.RECOVERED,
    log:
        "logs/recover/{scale}.{policy}.{cut}.{data}.{recipe}.seed{seed}.log",
    threads: 2
    params:
        stage=token("recover"),
        recipe=lambda w: targets.recipe_json(w.recipe),
        state=f"{paths.WORK}/{{cut}}/{{data}}.{{recipe}}/seed{{seed}}",
    shell:
        "dtr recover --policy {input.policy} --data {input.data} --recipe {params.recipe:q} --seed {wildcards.seed}"
        " --state-dir {params.state} --processes {threads} --out {output.policy} 2>&1 | tee -i {log}"
