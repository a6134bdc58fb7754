"""Faults that are not simulated: a network of the kernel, and hooks that misbehave."""
