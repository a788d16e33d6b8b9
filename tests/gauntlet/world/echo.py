"""Servers that say what they were asked, on most of the world's addresses."""

import asyncio
import ssl

import http1
import http2
from notes import Notes

V4 = ["10", "11", "12", "25", "29", "30", "31", "32", "34", "35", "36", "66"]
# Addresses that no guest may reach, where something would answer.
FORBIDDEN = ["10.77.0.10", "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
             "fd00:ec2::254"]
V6 = ["2001:4860:f::10", "2001:4860:f::66"]
# The certificate for a name, by suffix; any other gets that of good.test.
LEAVES = {"front.test": "shared", "hidden.test": "shared"}
ODD = {"203.0.113.26": "wrong", "203.0.113.27": "expired", "203.0.113.28": "self"}


class Place:
    """One connection, as it is told in the notes."""

    def __init__(self, notes, writer, faith):
        tls = writer.get_extra_info("ssl_object")
        self.notes, self.faith = notes, faith
        address, port = writer.get_extra_info("sockname")[:2]
        self.facts = {"server": address, "port": port, "tls": bool(tls),
                      "sni": getattr(tls, "asked_for", None)}

    def note(self, **seen):
        self.notes.write(**self.facts, **seen)

    def seen(self, version):
        return {**self.facts, "version": version}


def _contexts(folder, alpn, notes):
    def heard(_sock, direction, _version, kind, message, data):
        if direction == "read" and kind == 22 and message == 1:
            notes.write(version="hello", extensions=_extensions(data))

    def made(leaf):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{leaf}.crt", folder / f"{leaf}.key")
        context.set_alpn_protocols(alpn)
        return context

    others = {leaf: made(leaf) for leaf in set(LEAVES.values())}

    def chosen(sock, name, _context):
        sock.asked_for = name
        leaf = LEAVES.get(name or "")
        if leaf:
            sock.context = others[leaf]

    def context(leaf="good"):
        one = made(leaf)
        one.sni_callback = chosen
        # Not public, and the only way to see a hello as it came.
        one._msg_callback = heard
        return one

    return context


def _extensions(hello):
    """The numbers of a client hello's extensions; `hello` is the whole handshake message."""
    at = 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at:at + 2], "big")
    at += 1 + hello[at] + 2
    found = []
    while at + 4 <= len(hello):
        found.append(int.from_bytes(hello[at:at + 2], "big"))
        at += 4 + int.from_bytes(hello[at + 2:at + 4], "big")
    return found


async def serve(folder, path):
    notes = Notes(path)
    both = _contexts(folder, ["h2", "http/1.1"], notes)
    old = _contexts(folder, ["http/1.1"], notes)

    def talk(faith):
        async def run(reader, writer):
            place = Place(notes, writer, faith)
            tls = writer.get_extra_info("ssl_object")
            place.note(version="connection", alpn=tls.selected_alpn_protocol() if tls else None)
            kind = http2 if tls and tls.selected_alpn_protocol() == "h2" else http1
            await kind.converse(reader, writer, place)
        return run

    async def listen(address, port, context=None, faith="chunks"):
        await asyncio.start_server(talk(faith), address, port, ssl=context, backlog=2048,
                                   limit=1 << 20)

    public = [f"203.0.113.{last}" for last in V4]
    for address in public + FORBIDDEN + V6:
        await listen(address, 80)
        await listen(address, 443, both())
    for address in ("203.0.113.10", "203.0.113.30"):
        # 8443 speaks no HTTP/2; 8080 and 9443 believe Content-Length.
        await listen(address, 8443, old())
        await listen(address, 8080, faith="length")
        await listen(address, 9443, old(), faith="length")
    for address, leaf in ODD.items():
        await listen(address, 443, both(leaf))
