"""Reads a stream of events and prints when each of them came, in seconds."""

import json
import sys
import time
import urllib.request


def main(url):
    came = []
    began = time.monotonic()
    with urllib.request.urlopen(url, timeout=30) as reply:
        for line in reply:
            if line.startswith(b"data:"):
                came.append(round(time.monotonic() - began, 2))
    print(json.dumps(came))


main(sys.argv[1])
