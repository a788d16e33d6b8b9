"""HTTP/1 as a careless server reads it, so that what a filter lets slip shows.

Of Content-Length and Transfer-Encoding it believes the one that its port's `faith` names; a lone
line feed ends a line; nothing is refused for its form.
"""

import asyncio
import socket

import replies

HEAD_BYTES_MAX = 1 << 20


class _Conversation:
    def __init__(self, reader, writer, place):
        self.reader, self.writer, self.place = reader, writer, place

    async def run(self):
        while await self.one():
            pass

    async def one(self):
        head = await self.head()
        if not head.strip():
            return False
        lines = head.decode("latin-1").replace("\r\n", "\n").rstrip("\n").split("\n")
        words = lines[0].split(" ")
        headers = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        found = {name.lower().strip(): value for name, value in headers}
        authority = found.get("host", "")
        self.place.note(version="HTTP/1.1", method=words[0], target=" ".join(words[1:-1]),
                        authority=authority, headers=[list(pair) for pair in headers],
                        raw=head.decode("latin-1"))
        if "upgrade" in found and words[0] == "GET" and "/upgrade" in words[1] \
                or words[0] == "CONNECT":
            return await self.tunnel(found.get("upgrade", "connect"))
        if found.get("expect", "").lower() == "100-continue" and "/too-large" not in words[1]:
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "/bare-end" in words[1]:
            return await self.bare_end(words[1])
        if "/endless-" in words[1]:
            return await self.endless(words[1])
        asked = replies.Asked(words[0], words[1] if len(words) > 1 else "/", authority, headers,
                              lambda: self.body(found), self.place.seen("HTTP/1.1"))
        await self.answer(asked, await replies.reply(asked))
        ends = "close" in found.get("connection", "").lower() or "/too-large" in asked.target
        return not ends

    async def head(self):
        data = b""
        while not (data.endswith(b"\n\r\n") or data.endswith(b"\n\n")):
            line = await self.reader.readline()
            if not line:
                return b""
            data += line
            if len(data) > HEAD_BYTES_MAX or (data.strip() == b"" and len(data) > 8):
                return b""
        return data

    async def body(self, found):
        chunked = "chunked" in found.get("transfer-encoding", "").lower()
        length = found.get("content-length", "").split(",")[0].strip()
        if self.place.faith == "length" and length.isdigit():
            chunked = False
        if chunked:
            while True:
                line = await self.reader.readline()
                size = int(line.split(b";")[0].strip() or b"0", 16)
                if size == 0:
                    while (await self.reader.readline()).strip():
                        pass
                    return
                left = size
                while left:
                    part = await self.reader.read(min(left, 65536))
                    if not part:
                        return
                    left -= len(part)
                    yield part
                await self.reader.readline()
        left = int(length) if length.isdigit() else 0
        while left > 0:
            part = await self.reader.read(min(left, 65536))
            if not part:
                return
            left -= len(part)
            yield part

    async def answer(self, asked, told):
        status, headers, parts, trailers = told
        known = any(name == "content-length" for name, _ in headers)
        lines = [f"HTTP/1.1 {status} Told"] + [f"{name}: {value}" for name, value in headers]
        if not known:
            lines.append("transfer-encoding: chunked")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await self.writer.drain()
        if asked.method == "HEAD":
            return
        async for part in parts:
            self.writer.write(part if known else b"%x\r\n%s\r\n" % (len(part), part))
            await self.writer.drain()
        if not known:
            end = "".join(f"{name}: {value}\r\n" for name, value in trailers)
            self.writer.write(b"0\r\n" + end.encode() + b"\r\n")
            await self.writer.drain()

    async def endless(self, path):
        """A reply that does not come to its body, until nobody listens any more."""
        first, then = b"HTTP/1.1 200 Told\r\n", b"x-more: " + b"y" * 1000 + b"\r\n"
        if path.endswith("-line"):
            first, then = b"HTTP/1.1 200 Told\r\nx-more: ", b"y" * 1000
        elif path.endswith("-hints"):
            first, then = b"", b"HTTP/1.1 103 Hints\r\nlink: </a>\r\n\r\n"
        elif path.endswith("-chunk"):
            first, then = b"HTTP/1.1 200 Told\r\ntransfer-encoding: chunked\r\n\r\n1;", b"y" * 1000
        self.writer.write(first)
        while True:
            self.writer.write(then)
            await self.writer.drain()
            # drain() gives nobody else a turn while the other end keeps up.
            await asyncio.sleep(0)

    async def bare_end(self, path):
        """A reply at once, and an end that TLS does not announce; what still comes is read."""
        self.writer.write(b"HTTP/1.1 413 Told\r\ncontent-length: 8\r\nconnection: close\r\n\r\ntoo big\n"
                          if path.endswith("/early") else b"HTTP/1.0 200 Told\r\n\r\n" + b"z" * 30_000)
        await self.writer.drain()
        self.writer.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        while await asyncio.wait_for(self.reader.read(65536), 5):
            pass
        return False

    async def tunnel(self, protocol):
        """Switches, and says everything back."""
        self.writer.write(f"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\n"
                          f"upgrade: {protocol}\r\n\r\n".encode())
        while True:
            data = await self.reader.read(65536)
            if not data:
                return False
            self.place.note(version="tunnel", raw=data[:200].decode("latin-1"))
            self.writer.write(data)
            await self.writer.drain()


async def converse(reader, writer, place):
    try:
        await _Conversation(reader, writer, place).run()
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, ValueError, OSError):
        pass
    finally:
        writer.close()
