# How much language matters: success and following under the right, a blank and a swapped instruction, of every cut on every kind of task,
# and its contrasts; each number's cell in a folder beside the tables'.
rule pressure:
    input:
        episodes=pressure.files(),
    output:
        csv=paths.PRESSURE.replace("{sample}", ""),
        markdown=paths.PRESSURE.replace("{sample}", "").replace(".csv", ".md"),
        contrasts=paths.CONTRASTS.replace("{sample}", ""),
        cells=directory(paths.PRESSURE_CELLS.replace("{sample}", "")),
    log:
        "logs/pressure/{scale}.log",
    params:
        stage=token("pressure"),
        played=pressure.played_json(),
    shell:
        "dtr pressure --played {params.played:q} --scale {wildcards.scale} --out {output.csv} 2>&1 | tee -i {log}"


rule pressure_figure:
    input:
        csv=paths.PRESSURE.replace("{sample}", ""),
    output:
        png=report(
            f"{paths.FIGURES}/language_pressure.png".replace("{sample}", ""),
            category="Figures",
            caption="captions/figure.rst",
            labels={"figure": "language_pressure"},
        ),
        pdf=f"{paths.FIGURES}/language_pressure.pdf".replace("{sample}", ""),
    log:
        "logs/figure/{scale}.language_pressure.log",
    params:
        stage=token("figure"),
        caption=caption("language_pressure"),
    shell:
        "dtr figure language_pressure --files {input.csv} --out {output.png} 2>&1 | tee -i {log}"
