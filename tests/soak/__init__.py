"""The soak: a client under load on a line that breaks by a seed, and a ledger that judges what came of it.

A seed decides which faults come when, and what each thread asks; threads and sockets remain the machine's, so the
same seed meets the same faults with the same load, not the same bytes.
"""
