# How sure it is which blocks a metric takes: under resampling of its samples, and on the other calibration sets of the configuration.
# A score file holds means and no samples, so this scores again; the score itself stays as it is.
rule stability:
    input:
        policy=paths.PRETRAINED,
        data=lambda w: targets.data(config["calibrations"][w.calibration]["data"]),
        against=lambda w: targets.against(w.policy, w.calibration, w.metric),
    output:
        stability=paths.STABILITY,
    log:
        "logs/stability/{scale}.{policy}.{calibration}.{metric}.log",
    threads: 2
    resources:
        **resources_of("stability", targets),
    params:
        stage=lambda w: token(
            "stability",
            "score",
            *targets.rendering(config["calibrations"][w.calibration]["data"]),
        ),
        pictures=targets.pictures(),
        device=lambda w: targets.scoring(w.calibration),
        against=lambda w, input: (f"--against {input.against}" if input.against else ""),
        samples=lambda w: config["calibrations"][w.calibration]["samples"],
        seed=lambda w: config["calibrations"][w.calibration]["seed"],
    shell:
        "dtr stability --policy {input.policy} --data {input.data} {params.pictures} {params.device} --processes {threads} --metric {wildcards.metric}"
        " --samples {params.samples} --seed {params.seed} {params.against} --out {output.stability} 2>&1 | tee -i {log}"
