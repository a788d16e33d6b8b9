"""All of the world that is no program of somebody else's: `main.py FOLDER CARD`, in its namespace.

`main.py certificates FOLDER` makes its certificates; `main.py host FOLDER` is what the host itself
serves. Each prints a line when everything listens, and runs until its standard input ends.
"""

import asyncio
import pathlib
import sys
import threading

import certificates
import echo
import flows
import names
import others


async def main(folder, card):
    threading.Thread(target=flows.main, args=(card, folder / "flows.jsonl"), daemon=True).start()
    await names.serve(folder / "names.jsonl")
    await echo.serve(folder, folder / "requests.jsonl")
    await others.serve(folder, folder / "requests.jsonl")
    print("the world is there", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def host(folder):
    await others.host(folder / "requests.jsonl")
    print("the host's own services are there", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if sys.argv[1] == "certificates":
    certificates.make(pathlib.Path(sys.argv[2]))
elif sys.argv[1] == "host":
    asyncio.run(host(pathlib.Path(sys.argv[2])))
else:
    asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
