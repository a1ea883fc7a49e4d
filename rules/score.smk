rule score:
    input:
        policy=paths.PRETRAINED,
        data=lambda w: targets.rendered(config["calibrations"][w.calibration]["data"]),
    output:
        score=paths.SCORE,
    log:
        "logs/score/{scale}.{policy}.{calibration}.{metric}.log",
    params:
        stage=token("score"),
        samples=lambda w: config["calibrations"][w.calibration]["samples"],
        seed=lambda w: config["calibrations"][w.calibration]["seed"],
    shell:
        "dtr score --policy {input.policy} --demos {input.data} --metric {wildcards.metric}"
        " --samples {params.samples} --seed {params.seed} --out {output.score} 2>&1 | tee -i {log}"
