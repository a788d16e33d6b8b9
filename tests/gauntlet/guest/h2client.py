"""HTTP/2 by frames: several requests on one connection, with pseudo headers as one likes."""

import socket

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from wire import PATIENCE, named, open_tcp, open_tls


class _Talk:
    """One connection; streams are answered in any order."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(PATIENCE)
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="latin-1", validate_outbound_headers=False,
            normalize_outbound_headers=False, validate_inbound_headers=False)
        self.conn = h2.connection.H2Connection(config=config)
        self.conn.initiate_connection()
        self.streams = {}
        self.gone = None
        self.flush()

    def flush(self):
        data = self.conn.data_to_send()
        if data:
            self.sock.sendall(data)

    def ask(self, headers, body=b"", end=True):
        stream = self.conn.get_next_available_stream_id()
        self.streams[stream] = {"end": None, "body": b"", "trailers": [], "parts": 0}
        self.conn.send_headers(stream, headers, end_stream=end and not body)
        if body:
            # Together with its head: a lie about its length is then known before anything is sent on.
            self.send(stream, body, end)
        self.flush()
        return stream

    def send(self, stream, body, end):
        """Sends as the windows allow; a stream that is over takes no more."""
        while body and self.gone is None and self.streams[stream]["end"] is None:
            room = min(self.conn.local_flow_control_window(stream),
                       self.conn.max_outbound_frame_size)
            if room <= 0:
                self.flush()
                self.pump()
                continue
            part, body = body[:room], body[room:]
            self.conn.send_data(stream, part, end_stream=end and not body)
            self.flush()

    def pump(self):
        try:
            data = self.sock.recv(65536)
        except OSError as fault:
            self.gone = named(fault)
            return
        if not data:
            self.gone = "closed"
            return
        try:
            events = self.conn.receive_data(data)
        except h2.exceptions.ProtocolError as fault:
            self.gone = f"protocol: {fault}"
            return
        for event in events:
            self.take(event)
        try:
            self.flush()
        except OSError as fault:
            self.gone = named(fault)

    def take(self, event):
        if isinstance(event, h2.events.ConnectionTerminated):
            self.gone = f"goaway {int(event.error_code)}"
            return
        stream = self.streams.get(getattr(event, "stream_id", None))
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            headers = dict(event.headers)
            stream["status"] = int(headers[":status"])
            stream["headers"] = sorted([name, value] for name, value in headers.items())
        elif isinstance(event, h2.events.DataReceived):
            stream["body"] += event.data
            stream["parts"] += 1
            self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            stream["trailers"] = [list(pair) for pair in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            stream["end"] = "ok"
        elif isinstance(event, h2.events.StreamReset):
            stream["end"] = stream["end"] or f"reset {int(event.error_code)}"

    def until(self, stream):
        while self.streams[stream]["end"] is None and self.gone is None:
            self.pump()
        return self.outcome(stream)

    def outcome(self, stream):
        found = dict(self.streams[stream])
        found["end"] = found["end"] or self.gone or "timeout"
        found["body"] = found["body"].decode("latin-1")[:20000]
        return found


def request_headers(authority, path="/echo", method="GET", headers=(), scheme="https", pseudo=()):
    listed = [(":method", method), (":scheme", scheme)]
    if authority is not None:
        listed.append((":authority", authority))
    listed.append((":path", path))
    listed += [tuple(pair) for pair in pseudo]
    return listed + [tuple(pair) for pair in headers]


def http2(host, requests, port=443, sni=None, address=None, tls=True, together=True):
    """Requests (`authority`, `path`, `method`, `headers`, `body`) as streams of one connection.

    With `together` all are sent before an answer is read; else one after another.
    """
    if tls:
        sock = open_tls(address or host, port, host if sni is None else sni, ("h2",))
        if sock.selected_alpn_protocol() != "h2":
            return {"end": f"alpn {sock.selected_alpn_protocol()}", "streams": []}
    else:
        sock = open_tcp(address or host, port)
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = _Talk(sock)
        outcomes, asked = [], []
        for one in requests:
            one = dict(one)
            body = one.pop("body", "").encode("latin-1")
            one.setdefault("authority", host)
            try:
                asked.append(talk.ask(request_headers(**one), body))
            except OSError as fault:
                talk.gone = named(fault)
                break
            if not together:
                outcomes.append(talk.until(asked[-1]))
        if together:
            outcomes = [talk.until(stream) for stream in asked]
        outcomes += [{"end": talk.gone}] * (len(requests) - len(outcomes))
    return {"end": outcomes[-1]["end"], "status": outcomes[-1].get("status"), "streams": outcomes}
