rule table:
    input:
        cells=lambda w: targets.cells(w.table, w.sample),
    output:
        csv=paths.TABLE,
        markdown=paths.TABLE.replace(".csv", ".md"),
    log:
        "logs/table/{scale}{sample}.{table}.log",
    wildcard_constraints:
        table=targets.tables(gaps=False),
    params:
        stage=token("table"),
    shell:
        "dtr table --cells {input.cells} --out {output.csv} 2>&1 | tee -i {log}"


# A table whose sheet says which arms run at which scale: the others stand in it as "not run", with the reason and the paper's numbers.
rule table_with_gaps:
    input:
        cells=lambda w: targets.cells(w.table, w.sample),
        plans=lambda w: [targets.plan(arm) for arm in targets.running(w.table)],
        reported=ancient(paths.REPORTED),
    output:
        csv=paths.TABLE,
        markdown=paths.TABLE.replace(".csv", ".md"),
    log:
        "logs/table/{scale}{sample}.{table}.log",
    wildcard_constraints:
        table=targets.tables(gaps=True),
    params:
        stage=token("table"),
        rows=lambda w: targets.rows_json(w.table),
        columns=lambda w: targets.columns(w.table),
        reported=lambda w: targets.reported_digest(w.table),
        cells=lambda w, input: f"--cells {input.cells}" if input.cells else "",
    shell:
        "dtr table {params.cells} --rows {params.rows:q} --columns {params.columns} --name {wildcards.table} --scale {wildcards.scale}"
        " --reported {input.reported} --out {output.csv} 2>&1 | tee -i {log}"


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
