"""Tests of the programs in ``examples/services/``, which are no package: each is run from its own folder."""

import pathlib
import sys

SERVICES = pathlib.Path(__file__).parent.parent.parent / "examples" / "services"

sys.path.insert(0, str(SERVICES))
