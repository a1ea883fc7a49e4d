# Demonstrations with their pictures, for a reader's own use. No other rule asks for them: they are large, so they are not cached, and
# what depends on a file that is not there would be made again. Who trains reads the demonstrations and renders them aside (dtr.data.pictures).
rule render:
    input:
        demos=paths.SUITE,
    output:
        data=directory(paths.RENDERED),
    log:
        "logs/render/{scale}.{suite}.log",
    wildcard_constraints:
        suite=targets.of_origin("demos", "episodes"),
    threads: 2
    resources:
        **resources_of("render", targets),
    params:
        stage=token("render"),
        scenes=lambda w: suite_digest(w.suite),
        image_size=config["image_size"],
    shell:
        "dtr render --demos {input.demos} --image-size {params.image_size} --processes {threads} --out {output.data} 2>&1 | tee -i {log}"
