# Every claim of the paper against the cells that this scale has, and against the paper's own numbers. The sheet of claims is no input: where
# it lies differs between clones, and its digest says when it changed.
rule verdict:
    input:
        cells=list(exhibits.claimed()),
        plans=exhibits.claimed_plans(),
        compared=list(dict.fromkeys(exhibits.compared_plans().values())),
    output:
        csv=paths.VERDICTS.replace("{sample}", ""),
        markdown=paths.VERDICTS.replace("{sample}", "").replace(".csv", ".md"),
    log:
        "logs/verdict/{scale}.log",
    params:
        stage=token("verdict"),
        claims=exhibits.claims_digest(),
        cells=lambda w, input: f"--cells {input.cells}" if input.cells else "",
        plans=json.dumps(exhibits.compared_plans()),
    shell:
        f"dtr verdict --claims '{os.path.relpath(f'{workflow.basedir}/{paths.CLAIMS}')}'"
        " {params.cells} --plans {params.plans:q} --reported results/reported --scale {wildcards.scale}"
        " --out {output.csv} 2>&1 | tee -i {log}"


rule show_verdicts:
    input:
        csv=paths.VERDICTS.format(scale=targets.scale, sample=""),
        markdown=paths.VERDICTS.format(scale=targets.scale, sample="").replace(
            ".csv", ".md"
        ),
    output:
        csv="results/verdicts.csv",
        markdown="results/verdicts.md",
    log:
        f"logs/show/{targets.scale}.verdicts.log",
    shell:
        "{{ cp {input.csv} {output.csv}; cp {input.markdown} {output.markdown}; }} 2>&1 | tee -i {log}"
