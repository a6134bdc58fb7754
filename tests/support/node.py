"""npm packages, where Node finds them: in a folder above the tests, or in ``NODE_PATH``."""

import os
import pathlib
import shutil

__all__ = ["NODE", "npm"]

NODE = shutil.which("node")


def npm(*packages):
    """The folder of the first of these packages; None if one of them, or Node, is missing.

    Node itself is not asked, since each worker calls this when it collects the tests.
    """
    above = [folder / "node_modules" for folder in pathlib.Path(__file__).resolve().parents]
    listed = [pathlib.Path(folder) for folder in os.environ.get("NODE_PATH", "").split(os.pathsep) if folder]
    found = [next((root / name for root in above + listed if (root / name).is_dir()), None) for name in packages]
    return None if NODE is None or None in found else found[0]
