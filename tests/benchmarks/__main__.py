"""``python -m tests.benchmarks``: see ``command``."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
