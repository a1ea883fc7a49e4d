"""Where every artifact lies: one screen. Braces are Snakemake wildcards; a cell's protocol follows from its sample.

scale       smoke | embedded | paper
kernels     "" = dense; "-int8", "-sparse24": the arm's `method`. An arm with a method has it in its recipe's part: `recover.int8`
sample      "" = all initial states of the protocol; "/live-n5" = a sample of 5 a task, rolled out on this machine, never in the cache
variant     "" = the suite as it is; "+camera-3", "+blank": dtr.sim.perturbations.variant
protocol    <name>-n<trials>, for a live sample <name>-n<trials>-live
"""

SUITE = "artifacts/{scale}/demos/{suite}"
CHECKED = "artifacts/{scale}/checked/{suite}.json"
RENDERED = "artifacts/{scale}/rendered/{suite}"
POLICY = "artifacts/{scale}/{policy}"
PRETRAINED = POLICY + "/pretrained.safetensors"
SCORE = POLICY + "/scores/{calibration}/{metric}.json"
STABILITY = POLICY + "/scores/{calibration}/{metric}.stability.json"
CUT = POLICY + "/{cut}"
PLAN = CUT + "/plan.json"
DROPPED = CUT + "/dropped.safetensors"
COST = CUT + "/cost.json"
LATENCY = CUT + "/latency{kernels}.json"
ARM = CUT + "/{data}.{recipe}/seed{seed}"
RECOVERED = ARM + "/recovered.safetensors"
ROLLOUT = ARM + "/rollouts/{protocol}/{suite}{variant}.jsonl"
CANARY = ARM + "/canary/{protocol}.json"
RESULTS = "results/{scale}{sample}"
CELL = RESULTS + "/cells/{table}/{row}.{column}.json"
TABLE = RESULTS + "/{table}.csv"
SHOWN = "results{sample}/{table}.csv"
WORK = "work/{scale}/{policy}"
PICTURES = "work/{scale}/pictures"
REPORTED = "results/reported/{table}.csv"
CLAIMS = "config/experiments/claims.tsv"
VERDICTS = RESULTS + "/verdicts.csv"
PRESSURE = RESULTS + "/language_pressure.csv"
CONTRASTS = RESULTS + "/language_pressure_contrasts.csv"
PRESSURE_CELLS = RESULTS + "/cells/language_pressure"
FIGURES = RESULTS + "/figures"
FIGURE = FIGURES + "/{figure}.png"
FAILURES = FIGURES + "/failures.{table}.{row}.{column}.png"
CUT_FAILURES = FIGURES + "/failures-cut.{policy}.{column}.png"
REPORT = RESULTS + "/report.html"
