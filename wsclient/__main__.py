"""``python -m wsclient``."""

import sys

from .cli import main

sys.exit(main())
