# Arms that do not run at this scale stand in the table as "not run", with the reason and the paper's numbers. The gate gradients of a
# policy say, beside its plans, which of the dropped blocks are dead.
rule table:
    input:
        cells=lambda w: targets.cells(w.table, w.sample),
        plans=lambda w: [targets.plan(arm) for arm in targets.running(w.table)],
        gradients=lambda w: targets.gradients(w.table),
        reported=ancient(paths.REPORTED),
    output:
        csv=paths.TABLE,
        markdown=paths.TABLE.replace(".csv", ".md"),
    log:
        "logs/table/{scale}{sample}.{table}.log",
    params:
        stage=token("table"),
        rows=lambda w: targets.rows_json(w.table),
        columns=lambda w: targets.columns(w.table),
        reported=lambda w: targets.reported_digest(w.table),
        cells=lambda w, input: f"--cells {input.cells}" if input.cells else "",
        gradients=lambda w, input: (
            f"--gradients {input.gradients}" if input.gradients else ""
        ),
    shell:
        "dtr table {params.cells} --rows {params.rows:q} --columns {params.columns} --name {wildcards.table} --scale {wildcards.scale}"
        " {params.gradients} --reported {input.reported} --out {output.csv} 2>&1 | tee -i {log}"


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
