"""Faults nobody simulates: a network of the kernel's own, and hooks that misbehave."""
