"""Packets and frames as root in a guest can make them, with any address on them."""

import os
import socket
import struct
import time

import wire

GUEST, GATEWAY = "198.18.0.2", wire.GATEWAY
GUEST6, GATEWAY6 = "fd66:756d:6500::2", "fd66:756d:6500::1"
GATEWAY_MAC = bytes.fromhex("0266756d6501")
ANSWERS_WITHIN = 1.5


def _card():
    for name in sorted(os.listdir("/sys/class/net")):
        if name != "lo" and os.path.exists(f"/sys/class/net/{name}/device"):
            return name
    raise OSError("no network card")


def _mac():
    with open(f"/sys/class/net/{_card()}/address") as file:
        return bytes.fromhex(file.read().strip().replace(":", ""))


def _sum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _raw(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def _ip4(source, target, protocol, payload, fragment=0, options=b"", number=7):
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + len(payload), number,
                       fragment, 64, protocol, 0, _raw(source), _raw(target)) + options
    return head[:10] + struct.pack(">H", _sum(head)) + head[12:] + payload


def _ip6(source, target, protocol, payload):
    return struct.pack(">IHBB", 0x60000000, len(payload), protocol, 255) + _raw(source) + \
        _raw(target) + payload


def _pseudo(source, target, protocol, length):
    if ":" in source:
        return _raw(source) + _raw(target) + struct.pack(">II", length, protocol)
    return _raw(source) + _raw(target) + struct.pack(">BBH", 0, protocol, length)


def _udp(source, target, sport, dport, data):
    head = struct.pack(">HHHH", sport, dport, 8 + len(data), 0)
    total = _sum(_pseudo(source, target, 17, len(head + data)) + head + data) or 0xFFFF
    return head[:6] + struct.pack(">H", total) + data


def _syn(source, target, sport, dport, flags=2):
    head = struct.pack(">HHIIBBHHH", sport, dport, 1000, 0, 0x50, flags, 65535, 0, 0)
    total = _sum(_pseudo(source, target, 6, len(head)) + head)
    return head[:16] + struct.pack(">H", total) + head[18:]


def _icmp(source, target, number=1):
    if ":" in source:
        body = struct.pack(">BBHHH", 128, 0, 0, 77, number) + b"fumehood"
        return body[:2] + struct.pack(">H", _sum(_pseudo(source, target, 58, len(body)) + body)) \
            + body[4:]
    body = struct.pack(">BBHHH", 8, 0, 0, 77, number) + b"fumehood"
    return body[:2] + struct.pack(">H", _sum(body)) + body[4:]


def _packets(kind, source, target, port):
    """The IP packets of one attempt, and the protocol that an answer would have."""
    six = ":" in target
    build = _ip6 if six else _ip4
    if kind == "syn":
        return [build(source, target, 6, _syn(source, target, 40123, port))], 6
    if kind == "odd-flags":
        return [build(source, target, 6, _syn(source, target, 40124 + flags, port, flags))
                for flags in (0, 1, 3, 0x29, 0x3F)], 6
    if kind == "udp":
        return [build(source, target, 17, _udp(source, target, 40125, port, b"hello"))], 17
    if kind == "dns":
        message = wire.question("spoofed.good.test", "A")
        return [build(source, target, 17, _udp(source, target, 40126, 53, message))], 17
    if kind == "echo":
        protocol = 58 if six else 1
        return [build(source, target, protocol, _icmp(source, target))], protocol
    if kind == "fragments":
        whole = _udp(source, target, 40127, port, b"x" * 64)
        return [_ip4(source, target, 17, whole[:24], 0x2000),
                _ip4(source, target, 17, whole[24:], 3)], 17
    if kind == "syn-in-fragments":
        whole = _syn(source, target, 40128, port)
        return [_ip4(source, target, 6, whole[:8], 0x2000), _ip4(source, target, 6, whole[8:], 1)], 6
    if kind == "source-route":
        route = struct.pack(">BBB4sB", 131, 7, 4, _raw(target), 0)
        return [_ip4(source, GATEWAY, 6, _syn(source, GATEWAY, 40129, port), options=route)], 6
    if kind == "ip-in-ip":
        return [_ip4(source, target, 4, _ip4(source, target, 1, _icmp(source, target)))], 4
    if kind == "six-in-four":
        inner = _ip6(GUEST6, "2001:4860:f::66", 58, _icmp(GUEST6, "2001:4860:f::66"))
        return [_ip4(source, target, 41, inner)], 41
    if kind in ("gre", "esp", "sctp", "igmp"):
        number = {"gre": 47, "esp": 50, "sctp": 132, "igmp": 2}[kind]
        return [build(source, target, number, os.urandom(40))], number
    raise ValueError(kind)


def _listen():
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((_card(), 0))
    return sock


def _answers(sock, meant):
    """Frames from the far end within a while that `meant` says yes to."""
    own, found = _mac(), []
    until = time.monotonic() + ANSWERS_WITHIN
    while time.monotonic() < until and len(found) < 8:
        sock.settimeout(max(0.01, until - time.monotonic()))
        try:
            frame = sock.recv(65535)
        except (TimeoutError, socket.timeout):
            break
        if frame[6:12] != own and meant(frame):
            found.append(frame)
    return found


def packet(kind, target, source=None, port=80, mac=None, to_mac=None):
    """Sends packets by hand; `end` is `silence`, `refused` for a TCP reset, `unreachable` for an
    ICMP error, or `ok` for any other answer."""
    source = source or (GUEST6 if ":" in target else GUEST)
    built, protocol = _packets(kind, source, target, port)
    kind_of_frame = b"\x86\xdd" if ":" in target else b"\x08\x00"
    head = (bytes.fromhex(to_mac) if to_mac else GATEWAY_MAC) + \
        (bytes.fromhex(mac) if mac else _mac()) + kind_of_frame

    def meant(frame):
        if frame[12:14] == b"\x08\x00":
            return frame[23] in (protocol, 1)
        return frame[12:14] == b"\x86\xdd" and (frame[20] in (protocol,) or
                                                (frame[20] == 58 and frame[54] < 128))

    with _listen() as sock:
        for one in built:
            sock.send(head + one)
        found = _answers(sock, meant)
    return {"end": _meaning(found), "frames": [frame[:80].hex() for frame in found]}


def _meaning(frames):
    for frame in frames:
        six = frame[12:14] == b"\x86\xdd"
        protocol = frame[20] if six else frame[23]
        rest = frame[54:] if six else frame[14 + (frame[14] & 15) * 4:]
        if protocol == 6 and rest[13] & 4:
            return "refused"
        if (protocol == 1 and rest[0] == 3) or (protocol == 58 and rest[0] == 1):
            return "unreachable"
        return "ok"
    return "silence"


def arp(target, claim=None, mac=None):
    """Asks who has an address, or claims one; `ok` if the far end says that it has it."""
    own = bytes.fromhex(mac) if mac else _mac()
    operation, source = (2, claim) if claim else (1, GUEST)
    body = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, own, _raw(source),
                       GATEWAY_MAC if claim else b"\0" * 6, _raw(target))
    with _listen() as sock:
        sock.send(b"\xff" * 6 + own + b"\x08\x06" + body)
        found = _answers(sock, lambda frame: frame[12:14] == b"\x08\x06" and
                         frame[20:22] == b"\0\2" and frame[28:32] == _raw(target))
    return {"end": "ok" if found else "silence"}


def neighbour(target):
    """Asks by IPv6 who has an address."""
    group = _raw("ff02::1:ff00:0")[:13] + _raw(target)[13:]
    text = socket.inet_ntop(socket.AF_INET6, group)
    body = struct.pack(">BBHI16s", 135, 0, 0, 0, _raw(target)) + b"\1\1" + _mac()
    body = body[:2] + struct.pack(">H", _sum(_pseudo(GUEST6, text, 58, len(body)) + body)) + body[4:]
    with _listen() as sock:
        sock.send(b"\x33\x33" + group[12:] + _mac() + b"\x86\xdd" + _ip6(GUEST6, text, 58, body))
        found = _answers(sock, lambda frame: frame[12:14] == b"\x86\xdd" and frame[20] == 58 and
                         frame[54] == 136 and frame[62:78] == _raw(target))
    return {"end": "ok" if found else "silence"}


def ether(kind, payload="00" * 46, to_mac="ffffffffffff"):
    """A frame of another protocol."""
    wanted = bytes.fromhex(kind)
    with _listen() as sock:
        sock.send(bytes.fromhex(to_mac) + _mac() + wanted + bytes.fromhex(payload))
        found = _answers(sock, lambda frame: frame[12:14] == wanted)
    return {"end": "ok" if found else "silence"}


def garbage(count):
    """Frames of random length and content, some with a believable head."""
    heads = [b"", b"\x08\x00\x45", b"\x08\x00\x4f", b"\x86\xdd\x60", b"\x08\x06\x00\x01",
             b"\x08\x00\x45\x00\xff\xff\x00\x00\x00\x00\x40\x06", b"\x81\x00\x00\x01\x08\x00"]
    with _listen() as sock:
        for number in range(count):
            head = heads[number % len(heads)]
            frame = GATEWAY_MAC + _mac() + head + os.urandom(number % 300 + 1)
            sock.send(frame.ljust(14, b"\0"))
    return {"end": "ok"}


def vsock(cid, port):
    """Another way to a host that machines of other makes have."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
        sock.settimeout(3.0)
        sock.connect((cid, port))
    return {"end": "ok"}
