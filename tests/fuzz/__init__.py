"""Coverage-guided fuzzing of the code that reads a peer's bytes; ``tests/README.md`` has the command."""
