# Fetched demonstrations are looked at once before anything is trained or scored on them: turned pictures, or actions of another unit, would
# cost a whole recovery before the canary notices. Those that are made here come from the simulator itself.
rule check_data:
    input:
        data=paths.SUITE,
    output:
        found=paths.CHECKED,
    log:
        "logs/check_data/{scale}.{suite}.log",
    wildcard_constraints:
        suite=targets.of_origin("demos", "hub"),
    resources:
        **resources_of("check_data", targets),
    params:
        stage=token("check_data"),
        pictures=targets.pictures(),
        suites=list(config["suites"].values()),
    shell:
        "dtr check-data --data {input.data} {params.pictures} --suites {params.suites} --out {output.found} 2>&1 | tee -i {log}"
