rule render:
    input:
        demos=paths.SUITE,
    output:
        data=directory(paths.RENDERED),
    log:
        "logs/render/{scale}.{suite}.log",
    params:
        stage=token("render"),
        image_size=config["image_size"],
    threads: 2
    shell:
        "dtr render --demos {input.demos} --image-size {params.image_size} --processes {threads} --out {output.data} 2>&1 | tee -i {log}"
