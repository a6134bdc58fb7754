"""npm packages, as Node finds them: in a folder above the tests, or in ``NODE_PATH``."""

import functools
import shutil
import subprocess

__all__ = ["NODE", "npm"]

NODE = shutil.which("node")


@functools.cache
def npm(*modules):
    """The file that Node loads for the first of these modules; None if one of them is missing."""
    if NODE is None:
        return None
    script = "process.argv.slice(1).forEach(name => console.log(require.resolve(name)))"
    done = subprocess.run([NODE, "-e", script, *modules], capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()[0] if done.returncode == 0 else None
