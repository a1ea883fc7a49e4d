rule score:
    input:
        policy=paths.PRETRAINED,
        data=lambda w: targets.data(config["calibrations"][w.calibration]["data"]),
        checked=lambda w: targets.checked(config["calibrations"][w.calibration]["data"]),
    output:
        score=paths.SCORE,
    log:
        "logs/score/{scale}.{policy}.{calibration}.{metric}.log",
    threads: 2
    resources:
        **resources_of("score", targets),
    params:
        stage=lambda w: token(
            "score",
            *targets.rendering(config["calibrations"][w.calibration]["data"]),
        ),
        pictures=targets.pictures(),
        device=lambda w: targets.scoring(w.calibration),
        samples=lambda w: config["calibrations"][w.calibration]["samples"],
        seed=lambda w: config["calibrations"][w.calibration]["seed"],
    shell:
        "dtr score --policy {input.policy} --data {input.data} {params.pictures} {params.device} --processes {threads} --metric {wildcards.metric}"
        " --samples {params.samples} --seed {params.seed} --out {output.score} 2>&1 | tee -i {log}"
