# The policy that everything starts from: trained here from nothing. State is kept under work/, so a killed run goes on.
rule checkpoint:
    input:
        data=lambda w: targets.data(config["policies"][w.policy]["pretraining"]["data"]),
    output:
        policy=paths.PRETRAINED,
    log:
        "logs/checkpoint/{scale}.{policy}.log",
    wildcard_constraints:
        policy=targets.of_origin("policies", "pretraining"),
    threads: 1 if targets.device else 2
    resources:
        **resources_of("checkpoint", targets),
    params:
        stage=lambda w: token(
            "checkpoint",
            *targets.rendering(config["policies"][w.policy]["pretraining"]["data"]),
        ),
        pictures=targets.pictures(),
        device=lambda w: targets.training(w.policy),
        policy=lambda w: targets.policy_json(w.policy),
        recipe=lambda w: targets.recipe_json(
            config["policies"][w.policy]["pretraining"]["recipe"]
        ),
        seed=lambda w: config["policies"][w.policy]["pretraining"]["seed"],
        words=lambda w: targets.words(),
        state=f"{paths.WORK}/pretraining/{version('checkpoint')}",
    shell:
        "dtr checkpoint --config {params.policy:q} --data {input.data} {params.pictures} {params.device} --recipe {params.recipe:q} --seed {params.seed}"
        " --words {params.words:q}"
        " --state-dir {params.state} --processes {threads} --out {output.policy} 2>&1 | tee -i {log}"
