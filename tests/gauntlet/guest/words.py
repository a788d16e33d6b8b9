"""HTTP/1 as written, byte by byte, and as clients write it."""

import socket
import ssl
import time

from wire import PATIENCE, exactly, named, open_tcp, open_tls


def _opened(host, port, tls, sni):
    if tls:
        return open_tls(host, port, sni, ("http/1.1",))
    return open_tcp(host, port)


def _read_reply(reader, method):
    """One reply, or None at the end."""
    line = reader.readline(65536)
    if not line:
        return None
    status = int(line.split(None, 2)[1])
    headers = []
    while True:
        line = reader.readline(65536).rstrip(b"\r\n")
        if not line:
            break
        name, _, value = line.partition(b":")
        headers.append([name.decode("latin-1").lower(), value.strip().decode("latin-1")])
    found = dict(headers)
    trailers = []
    if status < 200 or status in (204, 304) or method == "HEAD":
        body = b""
    elif found.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = int(reader.readline(1024).split(b";")[0], 16)
            if size == 0:
                break
            body += reader.read(size)
            reader.readline(8)
        while True:
            line = reader.readline(65536).rstrip(b"\r\n")
            if not line:
                break
            trailers.append(line.decode("latin-1"))
    elif "content-length" in found:
        body = reader.read(int(found["content-length"]))
    else:
        body = reader.read()
    return {"status": status, "headers": headers, "trailers": trailers,
            "body": body.decode("latin-1")[:20000]}


def http1(host, port=80, tls=False, sni=None, raw="", then="", more_after=0.0, replies=8):
    """Sends these bytes, and reads replies until the other side ends or nothing comes.

    `then` is sent once the first reply is there. The end is that of the last thing that happened.
    """
    got = []
    end = "ok"
    with _opened(host, port, tls, sni) as sock:
        sock.settimeout(PATIENCE)
        reader = sock.makefile("rb")
        try:
            sock.sendall(raw.encode("latin-1"))
            method = raw.split(" ", 1)[0]
            while len(got) < replies:
                if got:
                    # What follows an answer follows at once, or not at all.
                    sock.settimeout(1.0)
                reply = _read_reply(reader, method)
                if reply is None:
                    if not got:
                        end = "closed"
                    break
                got.append(reply)
                if len(got) == 1 and then:
                    time.sleep(more_after)
                    sock.settimeout(PATIENCE)
                    sock.sendall(then.encode("latin-1"))
                    method = then.split(" ", 1)[0]
                    reply = _read_reply(reader, method)
                    if reply is None:
                        end = "closed"
                        break
                    got.append(reply)
                    break
        except (OSError, ssl.SSLError, ValueError, IndexError) as fault:
            if not got or then:
                end = named(fault)
    outcome = {"end": end, "replies": got}
    if got:
        outcome["status"] = got[-1]["status"]
        outcome["body"] = got[-1]["body"]
    return outcome


def get(host, path="/echo", port=None, tls=True, method="GET", headers=(), body="", sni=None,
        authority=None, address=None):
    """An ordinary request on a connection of its own; `address` is where it goes instead."""
    port = port or (443 if tls else 80)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host if authority is None else authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close")
    raw = "\r\n".join(lines) + "\r\n\r\n" + body
    return http1(address or host, port, tls, host if sni is None else sni, raw, replies=1)


def upgrade(host, port=443, tls=True, protocol="foo", path="/upgrade", say="through the tunnel\n",
            extra=()):
    """Asks for another protocol; what comes back after a 101 is `data`."""
    with _opened(host, port, tls, None) as sock:
        sock.settimeout(PATIENCE)
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade",
                 f"Upgrade: {protocol}", *extra]
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            part = sock.recv(4096)
            if not part:
                return {"end": "closed"}
            head += part
        status = int(head.split(None, 2)[1])
        outcome = {"end": "ok", "status": status}
        if status == 101:
            sock.sendall(say.encode())
            outcome["data"] = exactly(sock, len(say)).decode("latin-1")
        return outcome


def slow_loris(host, port, count, seconds, tls=False):
    """Many connections that send a header now and then; counts those still open at the end."""
    socks = []
    for _ in range(count):
        try:
            sock = open_tcp(host, port)
            sock.sendall(f"GET /loris HTTP/1.1\r\nHost: {host}\r\n".encode())
            socks.append(sock)
        except OSError:
            pass
    opened = len(socks)
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until and socks:
        number += 1
        left = []
        for sock in socks:
            try:
                sock.sendall(f"X-{number}: y\r\n".encode())
                left.append(sock)
            except OSError:
                sock.close()
        socks = left
        time.sleep(0.5)
    for sock in socks:
        sock.close()
    return {"end": "ok", "opened": opened, "left": len(socks)}


def many(host, port, count, say=""):
    """Many connections held at once; counts how each fared, and lets go."""
    held, ends = [], {}
    for _ in range(count):
        try:
            sock = socket.create_connection((host, port), timeout=PATIENCE)
            if say:
                sock.sendall(say.encode())
            held.append(sock)
            end = "ok"
        except OSError as fault:
            end = named(fault)
        ends[end] = ends.get(end, 0) + 1
    alive = 0
    for sock in held:
        sock.setblocking(False)
        try:
            if sock.recv(1) != b"":
                alive += 1
        except BlockingIOError:
            alive += 1
        except OSError:
            pass
        sock.close()
    return {"end": "ok", "ends": ends, "alive": alive}
