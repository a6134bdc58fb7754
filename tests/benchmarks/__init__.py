"""How fast it is, beside others: ``python -m tests.benchmarks``. Not collected by pytest."""
