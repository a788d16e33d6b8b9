"""A WebSocket client: text, binary, a large message, a close. Prints what it saw, as JSON."""

import json
import os
import sys

import websockets.sync.client


def main(url):
    key = os.environ.get("CLIENT_KEY", "none")
    headers = {"Authorization": f"Bearer {key}"}
    with websockets.sync.client.connect(url, additional_headers=headers, max_size=None,
                                        open_timeout=60) as socket:
        said = []
        for message in ("hello", b"\0\1\2", "x" * 2_000_000):
            socket.send(message)
            said.append(socket.recv(timeout=20) == message)
        pong = socket.ping()
        said.append(pong.wait(20))
    print(json.dumps({"said": said, "code": socket.close_code}))


main(sys.argv[1])
