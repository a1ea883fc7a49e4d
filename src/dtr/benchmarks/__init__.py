"""Benchmarks: one module a claim about speed. Each measures ours against a plain reference, interleaved in one process on one machine.

A module has `measure(quick: bool) -> dict[str, Any]`, imports its subject inside it, and is listed in `dtr.bench.BENCHMARKS`.
"""
