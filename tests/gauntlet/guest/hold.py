"""Opens a connection and keeps it, doing what is said line by line: `ask`, `close`.

`hold.py '{"way": "raw"|"http1"|"http2", "host": …, "port": …, "tls": …}'`; of `http1` also `address`, where the host is only said. Answers every line with
one of JSON.
"""

import json
import sys

import h2client
import wire
import words


class Raw:
    """Lines that are said back."""

    def __init__(self, asked):
        host, port = asked["host"], asked["port"]
        self.sock = wire.open_tls(host, port) if asked.get("tls") else wire.open_tcp(host, port)

    def ask(self):
        self.sock.sendall(b"are you there?\n")
        return {"end": "ok", "data": wire.exactly(self.sock, 15).decode()}


class Http1:
    def __init__(self, asked):
        host, self.path = asked["host"], asked.get("path", "/echo")
        self.authority = host
        to = asked.get("address", host)
        if asked.get("tls", True):
            self.sock = wire.open_tls(to, asked.get("port", 443), sni=host, alpn=("http/1.1",))
        else:
            self.sock = wire.open_tcp(to, asked.get("port", 80))
        self.reader = self.sock.makefile("rb")

    def ask(self):
        self.sock.sendall(f"GET {self.path} HTTP/1.1\r\nHost: {self.authority}\r\n\r\n".encode())
        reply = words._read_reply(self.reader, "GET")
        if reply is None:
            return {"end": "closed"}
        return {"end": "ok", "status": reply["status"], "body": reply["body"]}


class Http2:
    def __init__(self, asked):
        self.host = asked["host"]
        sock = wire.open_tls(self.host, asked.get("port", 443), alpn=("h2",))
        self.talk = h2client._Talk(sock)
        self.stream = None
        if asked.get("stream"):
            # A request that does not end: its body is still to come.
            headers = h2client.request_headers(self.host, "/back", "POST")
            self.stream = self.talk.ask(headers, b"one\n", end=False)

    def ask(self):
        if self.stream is None:
            stream = self.talk.ask(h2client.request_headers(self.host))
            return self.talk.until(stream)
        found = self.talk.streams[self.stream]
        had = len(found["body"])
        self.talk.conn.send_data(self.stream, b"more\n")
        self.talk.flush()
        while len(found["body"]) < had + 5 and found["end"] is None and self.talk.gone is None:
            self.talk.pump()
        outcome = self.talk.outcome(self.stream)
        if outcome["end"] == "timeout":
            outcome["end"] = "ok"
        return outcome


def answered(do):
    try:
        outcome = do()
    except Exception as fault:  # how it ended is what is asked
        outcome = {"end": wire.named(fault), "fault": f"{type(fault).__name__}: {fault}"}
    print(json.dumps(outcome), flush=True)


def main():
    asked = json.loads(sys.argv[1])
    made = []
    ways = {"raw": Raw, "http1": Http1, "http2": Http2}
    answered(lambda: made.append(ways[asked["way"]](asked)) or {"end": "ok"})
    for line in sys.stdin:
        if line.strip() == "close":
            return
        answered(lambda: made[0].ask())


main()
