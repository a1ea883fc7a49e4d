"""Benchmarks: one module a claim. Three measure the speed of ours against a plain reference, the two in turn, in one run on one machine;
the fourth measures what another batch size changes in what a policy does.

A module has `measure(quick: bool) -> dict[str, Any]`, imports its subject inside it, and is listed in `dtr.bench.BENCHMARKS`.
"""
