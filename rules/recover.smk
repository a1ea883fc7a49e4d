# Two processes an arm, so that one arm is done early; the weights do not depend on it. State is kept under work/, so a killed run goes on.
# An arm that chose the same blocks as one that is finished (--siblings) takes its file, whose weights training would only make again.
rule recover:
    input:
        policy=paths.PRETRAINED,
        plan=paths.PLAN,
        data=lambda w: targets.data(w.data),
        checked=lambda w: targets.checked(w.data),
    output:
        policy=paths.RECOVERED,
    log:
        "logs/recover/{scale}.{policy}.{cut}.{data}.{recipe}.seed{seed}.log",
    wildcard_constraints:
        recipe=targets.recipes(),
    threads: 1 if targets.device else 2
    resources:
        **resources_of("recover", targets),
    params:
        stage=lambda w: token("recover", "drop", *targets.rendering(w.data)),
        pictures=targets.pictures(),
        device=lambda w: targets.training(w.policy),
        recipe=lambda w: targets.recipe_json(w.recipe),
        state=f"{paths.WORK}/{{cut}}/{{data}}.{{recipe}}/seed{{seed}}/{version('recover')}",
    shell:
        "dtr recover --policy {input.policy} --plan {input.plan} --data {input.data} {params.pictures} {params.device} --recipe {params.recipe:q} --seed {wildcards.seed}"
        " --siblings artifacts/{wildcards.scale}/{wildcards.policy} --state-dir {params.state} --processes {threads} --out {output.policy} 2>&1 | tee -i {log}"
