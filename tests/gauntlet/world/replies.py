"""What the echo server says to a request, whichever version of HTTP it came by.

A reply is (status, headers, an async iterator of body parts, trailers).
"""

import asyncio
import hashlib
import json
from urllib.parse import parse_qs, urlsplit


class Asked:
    """A request as it came: `target` and `headers` untouched, `read` gives the body in parts."""

    def __init__(self, method, target, authority, headers, read, seen):
        self.method, self.target, self.authority = method, target, authority
        self.headers, self.read, self.seen = headers, read, seen

    def header(self, name):
        return [value for key, value in self.headers if key.lower() == name]


async def _one(data):
    yield data


async def _ticks(count, gap):
    for number in range(count):
        yield f"data: tick {number}\n\n".encode()
        await asyncio.sleep(gap)


async def _zeros(count):
    part = b"\0" * 65536
    while count > 0:
        yield part[:count]
        count -= len(part)


async def _whole(asked):
    digest, count = hashlib.sha256(), 0
    async for part in asked.read():
        digest.update(part)
        count += len(part)
    return count, digest.hexdigest()


async def _back(asked):
    async for part in asked.read():
        yield part


def _text(status, text, headers=()):
    return status, [("content-type", "text/plain"), *headers], _one(text.encode()), []


async def reply(asked):
    url = urlsplit(asked.target)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    path = url.path
    if path == "/redirect":
        return _text(302, "over there\n", [("location", query["to"])])
    if path == "/sse":
        ticks = _ticks(int(query.get("n", 4)), float(query.get("gap", 0.4)))
        return 200, [("content-type", "text/event-stream")], ticks, []
    if path == "/bytes":
        count = int(query["n"])
        return 200, [("content-length", str(count))], _zeros(count), []
    if path == "/back":
        return 200, [("content-type", "application/octet-stream")], _back(asked), []
    if path == "/trailers":
        return 200, [("trailer", "x-sum")], _one(b"with trailers\n"), [("x-sum", "42")]
    if path == "/in-hex":
        return _text(200, "".join(asked.header("authorization")).encode().hex())
    if path == "/too-large":
        return _text(413, "not even read\n")
    if path == "/ticket":
        # A service that checks a key and does not repeat it.
        good = asked.header("authorization") == [f"Bearer {query.get('expect', '')}"]
        return _text(200 if good else 401, "welcome\n" if good else "who are you?\n")
    count, digest = await _whole(asked)
    if asked.method == "PUT" and asked.authority.startswith("registry."):
        return _text(201, "{}")
    if asked.authority.startswith("registry.") and not path.startswith("/echo"):
        return _text(404, '{"error": "not found"}')
    seen = {**asked.seen, "method": asked.method, "target": asked.target,
            "authority": asked.authority, "headers": [list(pair) for pair in asked.headers],
            "bytes": count, "sha256": digest}
    return 200, [("content-type", "application/json")], _one(json.dumps(seen).encode()), []
