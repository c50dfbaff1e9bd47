"""A performance regression gate on deterministic counts, for any project of pure Python.

``docs/regression-gate.md`` is the manual. The package is also installed separately as ``bench_gate``, hence the
relative imports.
"""
