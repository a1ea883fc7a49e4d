# What this project cannot make: published weights and demonstrations. Until it fetches them itself, it says which file to put where.
rule fetch_policy:
    output:
        policy=paths.PRETRAINED,
    log:
        "logs/fetch/{scale}.{policy}.log",
    wildcard_constraints:
        policy=targets.of_origin("policies", "hub"),
    params:
        hub=lambda w: config["policies"][w.policy]["hub"],
    shell:
        "{{ echo 'error: expected {output.policy}, made from {params.hub}: put the policy file there and run the same command again.'; exit 2; }}"
        " 2>&1 | tee -i {log}"


rule fetch_demonstrations:
    output:
        data=directory(paths.SUITE),
    log:
        "logs/fetch/{scale}.{suite}.log",
    wildcard_constraints:
        suite=targets.of_origin("demos", "hub"),
    params:
        hub=lambda w: config["demos"][w.suite]["hub"],
    shell:
        "{{ echo 'error: expected the folder {output.data}, {params.hub}: put it there and run the same command again.'; exit 2; }}"
        " 2>&1 | tee -i {log}"
