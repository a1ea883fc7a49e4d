# Measured on the machine that runs it, and says which that was. Cached all the same, because a table is made of it; a speed-up compares
# two policies of one run.
rule latency:
    input:
        policy=paths.PRETRAINED,
        plan=paths.PLAN,
    output:
        latency=paths.LATENCY,
    log:
        "logs/latency/{scale}.{policy}.{cut}{kernels}.log",
    threads: workflow.cores  # alone on the machine
    resources:
        **resources_of("latency", targets),
    params:
        stage=token("cost"),
        device=targets.device,
        kernels=lambda w: f"--kernels {w.kernels[1:]}" if w.kernels else "",
    shell:
        "dtr latency --policy {input.policy} --plan {input.plan} {params.kernels} {params.device}"
        " --out {output.latency} 2>&1 | tee -i {log}"
