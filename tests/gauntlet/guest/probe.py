"""Makes the attempts that are asked for, and prints how each ended, as JSON.

`probe.py '[{"do": "dns", "name": "a.test"}, …]'` (`-`: from standard input); those with
`"at_once": true` run beside each other, a dozen at a time. Each outcome has `end` and `ms`.
"""

import concurrent.futures
import json
import sys
import time

import h2client
import link
import wire
import words

# More of them would wait for the guest's one processor, and that would look like a hang.
AT_ONCE = 12
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

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for index, one in enumerate(asked):
            if one.get("at_once"):
                pool.submit(run, index)
            else:
                run(index)
    print(json.dumps(outcomes))


main()
