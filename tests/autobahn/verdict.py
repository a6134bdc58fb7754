"""Evaluates a report of the Autobahn suite: ``python tests/autobahn/verdict.py FOLDER``; 0 if every case is OK.

Three cases are only informational: the suite does not rate them.
"""

import collections
import json
import pathlib
import sys

GOOD = {"OK", "INFORMATIONAL"}


def main():
    """Print how often each result occurred, and each case that is not good."""
    cases = {}
    for index in pathlib.Path(sys.argv[1]).rglob("index.json"):
        for agent in json.loads(index.read_text()).values():
            cases.update(agent)
    bad = {
        name: (case["behavior"], case["behaviorClose"])
        for name, case in cases.items()
        if not {case["behavior"], case["behaviorClose"]} <= GOOD
    }
    counts = collections.Counter(case["behavior"] for case in cases.values())
    print(f"Autobahn: {len(cases)} cases:", ", ".join(f"{number} {word}" for word, number in counts.most_common()))
    for name, (behavior, close) in sorted(bad.items()):
        print(f"  {name}: {behavior}, closing {close}")
    return 1 if bad or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
