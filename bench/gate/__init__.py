"""A performance regression gate on deterministic counts, for any project of pure Python.

``docs/regression-gate.md`` is its manual. Installed by itself it is called ``bench_gate``, hence the relative imports.
"""
