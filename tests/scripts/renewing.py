"""A client whose connection is renewed again and again; prints its resources after certain numbers of renewals.

python -m tests.scripts.renewing URL MARK...
"""

import gc
import json
import sys

import wsclient
from tests.support import LONG, eventually
from tests.support.figures import depth, descriptors, resident, threads_that_stay

depths = set()


def main():
    url, *marks = sys.argv[1:]
    options = {"on_session": lambda client, session: depths.add(depth()), "on_renew": lambda client, reason: None}
    with wsclient.connect(url, protocol=wsclient.JsonRpc(), **options) as client:
        subscription = client.subscribe({"method": "subscribe"}, timeout=LONG)
        for mark in map(int, marks):
            while client.stats.renewals < mark:
                assert client.renew(wait=True, timeout=LONG)
            eventually(lambda: client._wsclient.context.sender.retiring is None)
            gc.collect()
            facts = {
                "renewals": client.stats.renewals,
                "threads": threads_that_stay(3),  # helper threads come and go
                "descriptors": descriptors(),
                "resident": resident(),
                "objects": len(gc.get_objects()),
                "depths": sorted(depths),
                "members": len(client._wsclient.context.subscriptions.members),
                "owners": len(client._wsclient.context.subscriptions._owners),
                "gaps": subscription.gaps,
            }
            print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
