"""A gRPC server with streams both ways, a WebSocket server, and plain TCP on odd ports."""

import asyncio
import ssl

import grpc
import websockets.asyncio.server

from notes import Notes


# A guest that is emulated on a busy computer takes its time for a handshake.
PATIENCE = 60

# A server that nobody holds is collected, and gone.
_KEPT = []


def _same(data):
    return data


class _Calls(grpc.GenericRpcHandler):
    """`/gauntlet.Echo/…`: bytes in, bytes out, no schema."""

    def __init__(self, notes):
        self.notes = notes

    def service(self, details):
        method = details.method
        said = {pair.key: str(pair.value) for pair in details.invocation_metadata}
        self.notes.write(version="gRPC", method="POST", target=method, server="203.0.113.23",
                         headers=sorted(said.items()))
        if method == "/gauntlet.Echo/Both":
            return grpc.stream_stream_rpc_method_handler(self.both, _same, _same)
        if method == "/gauntlet.Echo/Many":
            return grpc.unary_stream_rpc_method_handler(self.many, _same, _same)
        if method == "/gauntlet.Echo/Fail":
            return grpc.unary_unary_rpc_method_handler(self.fail, _same, _same)
        return None

    async def both(self, messages, call):
        call.set_trailing_metadata((("x-trailer", "at-the-end"),))
        async for message in messages:
            yield b"back: " + message

    async def many(self, message, _call):
        for number in range(int(message)):
            yield b"%d" % number

    async def fail(self, _message, call):
        await call.abort(grpc.StatusCode.FAILED_PRECONDITION, "as it was told to")


async def _grpc(folder, notes):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Calls(notes),))
    pair = ((folder / "grpc.key").read_bytes(), (folder / "grpc.crt").read_bytes())
    server.add_secure_port("203.0.113.23:443", grpc.ssl_server_credentials([pair]))
    await server.start()
    return server


async def _websocket(folder, notes):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ws.crt", folder / "ws.key")

    async def talk(connection):
        request = connection.request
        notes.write(version="WebSocket", method="GET", target=request.path, server="203.0.113.24",
                    headers=[list(pair) for pair in request.headers.raw_items()])
        async for message in connection:
            await connection.send(message)

    serve = websockets.asyncio.server.serve
    await serve(talk, "203.0.113.24", 443, ssl=context, max_size=None, open_timeout=PATIENCE)
    await serve(talk, "203.0.113.24", 80, max_size=None, open_timeout=PATIENCE)


async def _plain(notes):
    """Says every line back; on 22 and 25 it speaks first."""
    def talk(greeting):
        async def run(reader, writer):
            address, port = writer.get_extra_info("sockname")[:2]
            notes.write(version="raw", server=address, port=port)
            try:
                writer.write(greeting)
                while True:
                    data = await reader.read(65536)
                    if not data:
                        break
                    writer.write(data)
                    await writer.drain()
            except (ConnectionError, OSError):
                pass
            finally:
                writer.close()
        return run

    for address in ("203.0.113.33", "203.0.113.66", "10.77.0.10"):
        for port in (22, 853, 5432, 6667, 9000):
            await asyncio.start_server(talk(b"hello\n" if port == 22 else b""), address, port,
                                       backlog=2048)
    await asyncio.start_server(talk(b""), "203.0.113.53", 853)


class _Back(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def _proxy(notes):
    """What a company puts between its computers and the world: CONNECT, and nothing else."""
    async def pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, OSError):
            pass
        finally:
            writer.close()

    async def talk(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        words = head.decode("latin-1").split()
        notes.write(version="proxy", method=words[0], target=words[1], server="203.0.113.37")
        host, _, port = words[1].rpartition(":")
        try:
            far = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, ValueError):
            writer.write(b"HTTP/1.1 502 No\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 Yes\r\n\r\n")
        await asyncio.gather(pump(reader, far[1]), pump(far[0], writer))

    await asyncio.start_server(talk, "203.0.113.37", 3128)


async def serve(folder, path):
    notes = Notes(path)
    _KEPT.append(await _grpc(folder, notes))
    await _websocket(folder, notes)
    await _plain(notes)
    await _proxy(notes)
    loop = asyncio.get_running_loop()
    for address in ("203.0.113.10", "203.0.113.66"):
        for port in (53, 123, 443, 853, 3478):
            await loop.create_datagram_endpoint(_Back, (address, port))


async def host(path):
    """What the host itself serves: one port of its loopback, and others on all its addresses."""
    notes = Notes(path)

    async def talk(reader, writer):
        address, port = writer.get_extra_info("sockname")[:2]
        notes.write(version="host", server=address, port=port)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n"
                         b"the host\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            pass
        finally:
            writer.close()

    for address, port in (("127.0.0.1", 8080), ("127.0.0.1", 8081), ("0.0.0.0", 8082),
                          ("203.0.113.1", 80), ("10.77.0.1", 80), ("::1", 8080)):
        await asyncio.start_server(talk, address, port)
