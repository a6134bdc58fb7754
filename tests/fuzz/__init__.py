"""Coverage-guided fuzzing of what reads the peer's bytes; ``tests/README.md`` has the command."""
