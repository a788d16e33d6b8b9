"""Makes the attempts that are asked for, and prints how each ended, as JSON.

`probe.py '[{"do": "dns", "name": "a.test"}, …]'` (`-`: from standard input); those with
`"at_once": true` run beside each other. Each outcome has `end` and `ms`.
"""

import json
import sys
import threading
import time

import h2client
import link
import wire
import words

DOES = {}
for module in (wire, words, h2client, link):
    DOES.update({name: getattr(module, name) for name in dir(module) if not name.startswith("_")})


def attempt(asked):
    asked = dict(asked)
    do = asked.pop("do")
    asked.pop("at_once", None)
    began = time.monotonic()
    try:
        outcome = DOES[do](**asked)
    except Exception as fault:  # how it ended is what is asked
        outcome = {"end": wire.named(fault), "fault": f"{type(fault).__name__}: {fault}"}
    outcome["ms"] = round((time.monotonic() - began) * 1000)
    return outcome


def main():
    asked = json.loads(sys.stdin.read() if sys.argv[1] == "-" else sys.argv[1])
    outcomes = [None] * len(asked)

    def run(index):
        outcomes[index] = attempt(asked[index])

    threads = []
    for index, one in enumerate(asked):
        if one.get("at_once"):
            thread = threading.Thread(target=run, args=(index,))
            thread.start()
            threads.append(thread)
        else:
            run(index)
    for thread in threads:
        thread.join()
    print(json.dumps(outcomes))


main()
