"""Benchmarks: one module a claim. Most measure the speed of ours against a plain reference, the two in turn, in one run on one machine;
others what another batch size changes in what a policy does, and what another reading of the paper changes in a metric.

A module has `measure(quick: bool) -> dict[str, Any]`, imports its subject inside it, and is listed in `dtr.bench.BENCHMARKS`.
"""
