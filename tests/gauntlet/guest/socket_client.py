"""A WebSocket client: text, binary, a large message, a close. Prints what it saw, as JSON.

In one thread: Debian's Python 3.13 lets no thread send over TLS while another waits to receive.
"""

import asyncio
import json
import os
import sys

import websockets.asyncio.client


async def main(url):
    key = os.environ.get("CLIENT_KEY", "none")
    headers = {"Authorization": f"Bearer {key}"}
    async with websockets.asyncio.client.connect(url, additional_headers=headers, max_size=None,
                                                 open_timeout=60) as socket:
        said = []
        for message in ("hello", b"\0\1\2", "x" * 2_000_000):
            await socket.send(message)
            said.append(await asyncio.wait_for(socket.recv(), 20) == message)
        pong = await socket.ping()
        await asyncio.wait_for(pong, 20)
        said.append(True)
    print(json.dumps({"said": said, "code": socket.close_code}))


asyncio.run(main(sys.argv[1]))
