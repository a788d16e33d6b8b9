"""What a hostile program says on the wire, and how it was answered.

Each function makes one attempt and returns how it ended, as a word under `end`:
ok, nxdomain, rcode N, empty, refused, reset, closed, unreachable, alert, timeout, error.
"""

import errno
import functools
import os
import random
import socket
import ssl
import struct
import time

# Longer than a refusal may take; an attempt that ends by this has hung.
PATIENCE = 12.0
GATEWAY = "198.18.0.1"


def named(fault):
    """How a connection ended, in a word."""
    if isinstance(fault, (TimeoutError, socket.timeout)):
        return "timeout"
    if isinstance(fault, ConnectionRefusedError):
        return "refused"
    if isinstance(fault, (ConnectionResetError, BrokenPipeError)):
        return "reset"
    if isinstance(fault, ssl.SSLCertVerificationError):
        return "untrusted"
    if isinstance(fault, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "closed"
    if isinstance(fault, ssl.SSLError):
        return "alert" if "ALERT" in str(fault).upper() else f"tls: {fault}"
    if isinstance(fault, socket.gaierror):
        return "nxdomain"
    if isinstance(fault, OSError) and fault.errno in (
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.EACCES,
        errno.EPERM,
        errno.EADDRNOTAVAIL,
        errno.EINVAL,
    ):
        return "unreachable"
    return f"error: {type(fault).__name__}: {fault}"


# DNS


def labels(name):
    """A name on the wire; `name` may be text with dots or a list of labels as latin-1 text."""
    parts = name if isinstance(name, list) else [part for part in name.split(".") if part]
    raw = b""
    for part in parts:
        label = part.encode("latin-1") if isinstance(name, list) else part.encode()
        raw += bytes([len(label)]) + label
    return raw + b"\0"


TYPES = {"A": 1, "NS": 2, "CNAME": 5, "NULL": 10, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28,
         "SRV": 33, "HTTPS": 65, "ANY": 255}


def question(name, kind, more=b"", count=1):
    number = random.randrange(65536)
    head = struct.pack(">HHHHHH", number, 0x0100, count, 0, 0, 0)
    return head + labels(name) + struct.pack(">HH", TYPES[kind], 1) + more


def skip_name(data, at):
    while True:
        length = data[at]
        if length == 0:
            return at + 1
        if length & 0xC0:
            return at + 2
        at += 1 + length


def answer(data):
    """The outcome and the records of an answer."""
    flags, questions, answers = struct.unpack(">HHH", data[2:8])
    at = 12
    for _ in range(questions):
        at = skip_name(data, at) + 4
    found = []
    for _ in range(answers):
        at = skip_name(data, at)
        kind, _, ttl, length = struct.unpack(">HHIH", data[at:at + 10])
        value = data[at + 10:at + 10 + length]
        at += 10 + length
        if kind == 1:
            value = socket.inet_ntoa(value)
        elif kind == 28:
            value = socket.inet_ntop(socket.AF_INET6, value)
        else:
            value = value.hex()
        found.append({"type": kind, "ttl": ttl, "value": value})
    code = flags & 15
    if code == 3:
        end = "nxdomain"
    elif code:
        end = f"rcode {code}"
    else:
        end = "ok" if found else "empty"
    return {"end": end, "answers": found, "truncated": bool(flags & 0x0200)}


def dns(name, type="A", server=GATEWAY, port=53, tcp=False):
    """Asks one question."""
    message = question(name, type)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(family, kind) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((server, port))
        if tcp:
            sock.sendall(struct.pack(">H", len(message)) + message)
            length = struct.unpack(">H", exactly(sock, 2))[0]
            return answer(exactly(sock, length))
        sock.send(message)
        return answer(sock.recv(65535))


def udp_dns(raw, patience=0.4):
    """A message of any form to the resolver; silence is an answer too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(patience)
        sock.connect((GATEWAY, 53))
        sock.send(bytes.fromhex(raw))
        return answer(sock.recv(65535))


def tcp_dns(raw, patience=0.4):
    message = bytes.fromhex(raw)
    with socket.create_connection((GATEWAY, 53), timeout=patience) as sock:
        sock.sendall(struct.pack(">H", len(message)) + message)
        return answer(exactly(sock, struct.unpack(">H", exactly(sock, 2))[0]))


def dns_flood(zone, count, label=None, port=53):
    """Asks for many names under a zone as fast as answers come; counts how they end."""
    ends = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2.0)
        sock.connect((GATEWAY, port))
        for number in range(count):
            first = label or os.urandom(15).hex()
            sock.send(question(f"{first}{number}.{zone}", "A"))
            try:
                end = answer(sock.recv(65535))["end"]
            except (TimeoutError, socket.timeout):
                end = "timeout"
            ends[end] = ends.get(end, 0) + 1
    return {"end": "ok", "ends": ends}


def dns_silence(zone, count):
    """Asks for many names that nobody will answer, and does not wait."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((GATEWAY, 53))
        for number in range(count):
            sock.send(question(f"silent.{number}.{zone}", "A"))
    return {"end": "ok"}


def resolve(name):
    """As programs do it, through the C library."""
    found = {entry[4][0] for entry in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}
    return {"end": "ok", "addresses": sorted(found)}


# TCP and TLS


def exactly(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ssl.SSLEOFError("closed")
        data += part
    return data


def open_tcp(host, port, patience=PATIENCE):
    """To a name as programs do, or to an address."""
    return socket.create_connection((host, port), timeout=patience)


def connect(host, port, send="", wait=True):
    """Whether a connection opens and, if asked, whether anything comes back on it."""
    with open_tcp(host, port) as sock:
        if send:
            sock.sendall(send.encode("latin-1"))
        if not wait:
            return {"end": "ok"}
        data = sock.recv(4096)
        return {"end": "ok" if data else "closed", "data": data.decode("latin-1")}


@functools.lru_cache
def context(alpn, verify, named):
    """Made once: to read all authorities takes a guest half a second."""
    made = ssl.create_default_context()
    made.check_hostname = verify and named
    if not verify:
        made.verify_mode = ssl.CERT_NONE
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


def open_tls(host, port=443, sni=None, alpn=(), verify=True):
    """A TLS connection; `sni` is what is said, "" for nothing, by default the host."""
    plain = open_tcp(host, port)
    name = host if sni is None else sni
    try:
        made = context(tuple(alpn), verify, bool(name))
        return made.wrap_socket(plain, server_hostname=name or None)
    except BaseException:
        plain.close()
        raise


def tls(host, port=443, sni=None, alpn=("http/1.1",), verify=True):
    """A handshake and what came of it."""
    with open_tls(host, port, sni, alpn, verify) as sock:
        certificate = sock.getpeercert() or {}
        issuer = dict(pair[0] for pair in certificate.get("issuer", ()))
        return {
            "end": "ok",
            "alpn": sock.selected_alpn_protocol(),
            "issuer": issuer.get("commonName") or issuer.get("organizationName"),
            "version": sock.version(),
        }


def client_hello(sni=None, ech="", names=None, filler=0):
    """A hello of our own making, with any list of names and an extension for ECH: `outer`, `inner`, `broken`."""
    def extension(kind, body):
        return struct.pack(">HH", kind, len(body)) + body

    entries = [sni] if names is None and sni else (names or [])
    extensions = b""
    if entries:
        listed = b""
        for entry in entries:
            raw = entry.encode("latin-1")
            listed += b"\0" + struct.pack(">H", len(raw)) + raw
        extensions += extension(0, struct.pack(">H", len(listed)) + listed)
    extensions += extension(10, struct.pack(">HH", 2, 29))
    extensions += extension(13, struct.pack(">HHH", 4, 0x0403, 0x0804))
    extensions += extension(43, b"\x02\x03\x04")
    share = struct.pack(">HH", 29, 32) + os.urandom(32)
    extensions += extension(51, struct.pack(">H", len(share)) + share)
    if ech:
        body = b"\0" + struct.pack(">HHB", 1, 1, 7) + struct.pack(">H", 32) + os.urandom(32)
        payload = os.urandom(180)
        outer = body + struct.pack(">H", len(payload)) + payload
        extensions += extension(0xFE0D, {"outer": outer, "inner": b"\1", "broken": b"\7"}[ech])
    if filler:
        extensions += extension(21, b"\0" * filler)
    body = b"\x03\x03" + os.urandom(32) + b"\x20" + os.urandom(32)
    body += struct.pack(">HH", 2, 0x1301) + b"\x01\x00"
    body += struct.pack(">H", len(extensions)) + extensions
    return b"\x01" + struct.pack(">I", len(body))[1:] + body


def records(handshake, size=None, version=b"\x03\x01"):
    size = size or len(handshake)
    out = b""
    for at in range(0, len(handshake), size):
        part = handshake[at:at + size]
        out += b"\x16" + version + struct.pack(">H", len(part)) + part
    return out


def hello(host, port=443, sni=None, ech="", names=None, filler=0, record=None, segment=None,
          raw=None, version="0301"):
    """Sends a hello and says what came back: a ServerHello is `ok`."""
    data = bytes.fromhex(raw) if raw else records(
        client_hello(sni, ech, names, filler), record, bytes.fromhex(version))
    with open_tcp(host, port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = segment or len(data)
        for at in range(0, len(data), size):
            sock.sendall(data[at:at + size])
            if segment:
                time.sleep(0.002)
        first = exactly(sock, 6)
    if first[0] == 0x16 and first[5] == 2:
        return {"end": "ok"}
    return {"end": "alert" if first[0] == 0x15 else "answered", "data": first.hex()}


# UDP and ICMP


def udp(host, port, payload="hello", patience=3.0):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.settimeout(patience)
        sock.connect((host, port))
        sock.send(payload.encode("latin-1"))
        return {"end": "ok", "data": sock.recv(4096).decode("latin-1")}
