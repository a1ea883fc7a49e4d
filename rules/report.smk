# One page for a reader: every table, figure and verdict, what each number rests on, and what was not run.
rule page:
    input:
        tables=exhibits.tables(),
        cells=exhibits.cells(),
        control=pressure.tables(),
        control_cells=pressure.cells(),
        figures=exhibits.drawn() + pressure.drawn(),
        verdicts=paths.VERDICTS.format(scale=targets.scale, sample=""),
    output:
        html=paths.REPORT.replace("{sample}", ""),
    log:
        "logs/report/{scale}.log",
    params:
        stage=token("report"),
        control=f"--control {' '.join(pressure.tables())}" if pressure.tables() else "",
        config=os.path.relpath(workflow.configfiles[0], workflow.basedir),
    shell:
        "dtr report --tables {input.tables} {params.control} --figures {input.figures} --verdicts {input.verdicts}"
        " --configfile {params.config:q} --out {output.html} 2>&1 | tee -i {log}"


rule show_page:
    input:
        html=paths.REPORT.format(scale=targets.scale, sample=""),
    output:
        html="results/report.html",
    log:
        f"logs/show/{targets.scale}.report.log",
    shell:
        "cp {input.html} {output.html} 2>&1 | tee -i {log}"
