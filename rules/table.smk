rule table:
    input:
        cells=lambda w: targets.cells(w.table, w.sample),
    output:
        csv=paths.TABLE,
        markdown=paths.TABLE.replace(".csv", ".md"),
    log:
        "logs/table/{scale}{sample}.{table}.log",
    params:
        stage=token("table"),
    shell:
        "dtr table --cells {input.cells} --out {output.csv} 2>&1 | tee -i {log}"


# results/table1.csv is the table of the scale that was asked for last.
rule show:
    input:
        csv=paths.TABLE.replace("{scale}", targets.scale),
        markdown=paths.TABLE.replace("{scale}", targets.scale).replace(".csv", ".md"),
    output:
        csv=paths.SHOWN,
        markdown=paths.SHOWN.replace(".csv", ".md"),
    log:
        f"logs/show/{targets.scale}{{sample}}.{{table}}.log",
    shell:
        "{{ cp {input.csv} {output.csv}; cp {input.markdown} {output.markdown}; }} 2>&1 | tee -i {log}"
