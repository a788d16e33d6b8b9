"""The world's DNS server: who is where, and answers that lie."""

import asyncio
import socket
import struct

from notes import Notes

V6 = "2001:4860:f::"
HOSTS = {
    "good.test": 10, "also.test": 11, "wild.test": 12, "evil.test": 66, "web.test": 20,
    "git.test": 21, "redis.test": 22, "grpc.test": 23, "ws.test": 24, "front.test": 25,
    "hidden.test": 25, "wrong.test": 26, "expired.test": 27, "self.test": 28, "registry.test": 29,
    "key.test": 30, "live.test": 32, "raw.test": 33, "xn--bcher-kva.test": 34, "redirect.test": 35,
    "doh.test": 36,
}
# Below these everything exists; the last byte of where.
BELOW = {"good.test": 10, "also.test": 11, "wild.test": 12, "evil.test": 66, "key.test": 31,
         "live.test": 32, "redirect.test": 35}

A, CNAME, AAAA, HTTPS = 1, 5, 28, 65


def _records(name, kind, turn):
    """The records of a name, or None if it does not exist. `turn` counts its questions."""
    first = name.split(".")[0]
    if name == "nx.good.test":
        return None
    if name == "alias.good.test":
        return [(CNAME, _encoded("evil.test"))] + (
            [(A, socket.inet_aton("203.0.113.66"))] if kind == A else [])
    if kind == HTTPS and name == "good.test":
        # SvcPriority 1, target ".", ech=(made up).
        return [(HTTPS, b"\0\1\0" + struct.pack(">HH", 5, 16) + b"ech-of-good-test")]
    if first.startswith("at-") or first.startswith("rebind-"):
        lies, _, where = first.partition("-")
        raw = bytes.fromhex(where)
        if lies == "rebind" and turn % 2 == 1:
            raw = socket.inet_aton("203.0.113.10")
        wanted = A if len(raw) == 4 else AAAA
        return [(wanted, raw)] if kind == wanted else []
    if first == "both-good-and-private":
        return [(A, socket.inet_aton(text)) for text in ("203.0.113.10", "10.77.0.10")] \
            if kind == A else []
    if first == "big":
        return [(A, bytes([203, 0, 113, number])) for number in range(100, 180)] if kind == A else []
    last = HOSTS.get(name)
    if last is None:
        last = next((where for zone, where in BELOW.items() if name.endswith("." + zone)), None)
    if last is None:
        return None
    if kind == A:
        return [(A, bytes([203, 0, 113, last]))]
    if kind == AAAA and name in ("good.test", "six.good.test", "evil.test"):
        return [(AAAA, socket.inet_pton(socket.AF_INET6, f"{V6}{last}"))]
    return []


def _encoded(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


class Server:
    def __init__(self, notes):
        self.notes = notes
        self.turns = {}

    def answer(self, message, transport):
        number, flags = struct.unpack(">HH", message[:4])
        at, labels = 12, []
        while message[at]:
            labels.append(message[at + 1:at + 1 + message[at]].decode("latin-1"))
            at += 1 + message[at]
        kind = struct.unpack(">H", message[at + 1:at + 3])[0]
        asked = message[12:at + 5]
        said = ".".join(labels)
        name = said.lower()
        self.notes.write(name=said, type=kind, transport=transport)
        if name.split(".")[0] == "silent":
            return None
        turn = self.turns[(name, kind)] = self.turns.get((name, kind), 0) + 1
        records = _records(name, kind, turn)
        code = 3 if records is None else 0
        body, count = b"", 0
        for type_, value in records or []:
            owner = b"\xc0\x0c"
            if type_ == A and records[0][0] == CNAME:
                owner = _encoded("evil.test")
            body += owner + struct.pack(">HHIH", type_, 1, 0, len(value)) + value
            count += 1
        head = struct.pack(">HHHHHH", number, 0x8180 | (flags & 0x0100) | code, 1, count, 0, 0)
        whole = head + asked + body
        if transport == "udp" and len(whole) > 1232:
            return struct.pack(">HHHHHH", number, 0x8380, 1, 0, 0, 0) + asked
        return whole


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server):
        self.server = server

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        reply = self.server.answer(data, "udp")
        if reply:
            self.transport.sendto(reply, address)


async def serve(path):
    server = Server(Notes(path))
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Datagrams(server), ("203.0.113.53", 53))

    async def stream(reader, writer):
        try:
            while True:
                length = struct.unpack(">H", await reader.readexactly(2))[0]
                reply = server.answer(await reader.readexactly(length), "tcp")
                if reply:
                    writer.write(struct.pack(">H", len(reply)) + reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    await asyncio.start_server(stream, "203.0.113.53", 53)
