# One number of one table. The paper's number beside it is a parameter, so that a correction there renders
# that one cell again; the file's own time does not count.
rule cost_cell:
    input:
        cost=lambda w: targets.cost(targets.arm(w.table, w.row)),
        reported=ancient(paths.REPORTED),
    output:
        cell=paths.CELL,
    log:
        "logs/cell/{scale}{sample}.{table}.{row}.{column}.log",
    wildcard_constraints:
        column="size|flops",
    params:
        stage=token("cell"),
        names=lambda w: targets.cell_arguments(w.table, w.row, w.column),
        reported=lambda w: targets.reported(w.table, w.row, w.column),
    shell:
        "dtr cell {params.names} --cost {input.cost} --reported {input.reported}"
        " --out {output.cell} 2>&1 | tee -i {log}"


rule success_cell:
    input:
        episodes=lambda w: targets.episodes(
            targets.arm(w.table, w.row), w.column, w.sample, w.table
        ),
        baseline=lambda w: targets.episodes(
            targets.baseline(w.table, w.row), w.column, w.sample, w.table
        ),
        reported=ancient(paths.REPORTED),
    output:
        cell=paths.CELL,
    log:
        "logs/cell/{scale}{sample}.{table}.{row}.{column}.log",
    wildcard_constraints:
        column=targets.rates(),
    params:
        stage=token("cell"),
        names=lambda w: targets.cell_arguments(w.table, w.row, w.column),
        protocol=lambda w: targets.protocol_json(
            targets.protocol(targets.arm(w.table, w.row), w.sample)
        ),
        reported=lambda w: targets.reported(w.table, w.row, w.column),
    shell:
        "dtr cell {params.names} --episodes {input.episodes} --baseline {input.baseline} --protocol {params.protocol:q}"
        " --reported {input.reported} --out {output.cell} 2>&1 | tee -i {log}"


# What a table says of the recovery itself: samples a step, and steps.
rule training_cell:
    input:
        policy=lambda w: targets.recovered(targets.arm(w.table, w.row)),
        reported=ancient(paths.REPORTED),
    output:
        cell=paths.CELL,
    log:
        "logs/cell/{scale}{sample}.{table}.{row}.{column}.log",
    wildcard_constraints:
        column="batch|steps",
    params:
        stage=token("cell"),
        names=lambda w: targets.cell_arguments(w.table, w.row, w.column),
        reported=lambda w: targets.reported(w.table, w.row, w.column),
    shell:
        "dtr cell {params.names} --policy {input.policy} --reported {input.reported}"
        " --out {output.cell} 2>&1 | tee -i {log}"


rule speed_cell:
    input:
        latency=lambda w: targets.latency(targets.arm(w.table, w.row)),
        reported=ancient(paths.REPORTED),
    output:
        cell=paths.CELL,
    log:
        "logs/cell/{scale}{sample}.{table}.{row}.{column}.log",
    wildcard_constraints:
        column="action_speedup|memory_gib",
    params:
        stage=token("cell"),
        names=lambda w: targets.cell_arguments(w.table, w.row, w.column),
        reported=lambda w: targets.reported(w.table, w.row, w.column),
    shell:
        "dtr cell {params.names} --latency {input.latency} --reported {input.reported}"
        " --out {output.cell} 2>&1 | tee -i {log}"


rule task_cell:
    input:
        episodes=lambda w: targets.episodes(
            targets.arm(w.table, w.row), w.column, w.sample, w.table
        ),
        baseline=lambda w: targets.episodes(
            targets.baseline(w.table, w.row), w.column, w.sample, w.table
        ),
        latency=lambda w: (
            targets.latency(targets.arm(w.table, w.row))
            if w.column == "task_speedup"
            else []
        ),
        reported=ancient(paths.REPORTED),
    output:
        cell=paths.CELL,
    log:
        "logs/cell/{scale}{sample}.{table}.{row}.{column}.log",
    wildcard_constraints:
        column="step_ratio|task_speedup",
    params:
        stage=token("cell"),
        names=lambda w: targets.cell_arguments(w.table, w.row, w.column),
        protocol=lambda w: targets.protocol_json(
            targets.protocol(targets.arm(w.table, w.row), w.sample)
        ),
        latency=lambda w, input: f"--latency {input.latency}" if input.latency else "",
        reported=lambda w: targets.reported(w.table, w.row, w.column),
    shell:
        "dtr cell {params.names} --episodes {input.episodes} --baseline {input.baseline} --protocol {params.protocol:q}"
        " {params.latency} --reported {input.reported} --out {output.cell} 2>&1 | tee -i {log}"
