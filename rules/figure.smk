# Figures are drawn from cells, records and plans alone; the PDF lies beside the PNG.
rule figure:
    input:
        files=lambda w: exhibits.files(w.figure),
        plans=lambda w: exhibits.plans(w.figure),
    output:
        png=report(
            paths.FIGURE.replace("{sample}", ""),
            category="Figures",
            caption="captions/figure.rst",
            labels={"figure": "{figure}"},
        ),
        pdf=paths.FIGURE.replace("{sample}", "").replace(".png", ".pdf"),
    log:
        "logs/figure/{scale}.{figure}.log",
    wildcard_constraints:
        figure=words(exhibits.figures()),
    params:
        stage=token("figure"),
        kind=lambda w: w.figure.split("-")[0],
        caption=lambda w: caption(w.figure),
    shell:
        "dtr figure {params.kind} --files {input.files} --out {output.png} 2>&1 | tee -i {log}"


# How episodes fail: some failures are played once more and their last pictures shown. On which device is no parameter: the pictures are
# those of the record's episodes or there are none.
rule failures:
    input:
        policy=lambda w: targets.recovered(targets.arm(w.table, w.row)),
        episodes=lambda w: targets.episodes(targets.arm(w.table, w.row), w.column, "")[
            0
        ],
    output:
        png=report(
            paths.FAILURES.replace("{sample}", ""),
            category="Figures",
            caption="captions/failures.rst",
            labels={"figure": "failures of {row} on {column}"},
        ),
        pdf=paths.FAILURES.replace("{sample}", "").replace(".png", ".pdf"),
    log:
        "logs/figure/{scale}.failures.{table}.{row}.{column}.log",
    wildcard_constraints:
        column=words(config["suites"]),
    threads: 2
    resources:
        **resources_of("failures", targets),
    params:
        stage=token("figure", "rollout"),
        protocol=lambda w: targets.protocol_json(
            targets.protocol(targets.arm(w.table, w.row), "")
        ),
    shell:
        "dtr figure failures --policy {input.policy} --episodes {input.episodes} --protocol {params.protocol:q}"
        f" {targets.device}"
        " --workers {threads} --out {output.png} 2>&1 | tee -i {log}"


# The same of the cuts of a policy: all that were rolled out are inputs, and the verb picks one by their episodes. So no target's name
# depends on a result, and no choice grows stale.
rule failures_cut:
    input:
        policies=lambda w: [
            targets.recovered(arm) for arm in exhibits.cuts(w.policy, w.column)
        ],
        episodes=lambda w: [
            targets.episodes(arm, w.column, "")[0]
            for arm in exhibits.cuts(w.policy, w.column)
        ],
    output:
        png=report(
            paths.CUT_FAILURES.replace("{sample}", ""),
            category="Figures",
            caption="captions/figure.rst",
            labels={"figure": "failures of a cut {policy} on {column}"},
        ),
        pdf=paths.CUT_FAILURES.replace("{sample}", "").replace(".png", ".pdf"),
    log:
        "logs/figure/{scale}.failures-cut.{policy}.{column}.log",
    wildcard_constraints:
        policy=words(policy for policy, _ in exhibits.failing_cuts()),
        column=words(config["suites"]),
    threads: 2
    resources:
        **resources_of("failures_cut", targets),
    params:
        stage=token("figure", "rollout"),
        caption=caption("failures-cut"),
        protocol=lambda w: targets.protocol_json(
            targets.protocol(exhibits.cuts(w.policy, w.column)[0], "")
        ),
    shell:
        "dtr figure failures --policy {input.policies} --episodes {input.episodes} --protocol {params.protocol:q}"
        f" {targets.device}"
        " --workers {threads} --out {output.png} 2>&1 | tee -i {log}"
