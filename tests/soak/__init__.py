"""The soak test: a client under load whose connection fails according to a seed, and a ledger that checks the results.

The seed decides the kinds and times of the faults, and what each thread requests. The timing of threads and sockets
differs from run to run, so the same seed gives the same faults and the same load, but not the same bytes.
"""
