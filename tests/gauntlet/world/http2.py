"""HTTP/2, each stream by itself."""

import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

import replies


class _Stream:
    def __init__(self):
        self.parts = asyncio.Queue()
        self.task = None


class _Conversation:
    def __init__(self, reader, writer, place):
        self.reader, self.writer, self.place = reader, writer, place
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.conn = h2.connection.H2Connection(config=config)
        self.streams = {}
        self.window = asyncio.Event()

    async def run(self):
        self.conn.initiate_connection()
        # Enough for fast uploads; beyond it the sender has to wait for us.
        self.conn.increment_flow_control_window(1 << 20)
        await self.flush()
        try:
            while True:
                data = await self.reader.read(65536)
                if not data:
                    return
                for event in self.conn.receive_data(data):
                    self.take(event)
                await self.flush()
        except h2.exceptions.ProtocolError as fault:
            self.place.note(version="HTTP/2", fault=str(fault))
            await self.flush()
        finally:
            for stream in self.streams.values():
                if stream.task:
                    stream.task.cancel()

    async def flush(self):
        data = self.conn.data_to_send()
        if data:
            self.writer.write(data)
            await self.writer.drain()

    def take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            stream = self.streams[event.stream_id] = _Stream()
            stream.task = asyncio.create_task(self.serve(event.stream_id, event.headers))
        elif isinstance(event, h2.events.DataReceived):
            stream = self.streams.get(event.stream_id)
            if stream:
                stream.parts.put_nowait((event.data, event.flow_controlled_length))
        elif isinstance(event, h2.events.StreamEnded):
            if event.stream_id in self.streams:
                self.streams[event.stream_id].parts.put_nowait((None, 0))
        elif isinstance(event, h2.events.StreamReset):
            self.place.note(version="reset", stream=event.stream_id)
            stream = self.streams.pop(event.stream_id, None)
            if stream and stream.task:
                stream.task.cancel()
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.window.set()

    async def body(self, number):
        stream = self.streams[number]
        while True:
            data, counted = await stream.parts.get()
            if data is None:
                return
            yield data
            if counted and number in self.streams:
                self.conn.acknowledge_received_data(counted, number)
                await self.flush()

    async def serve(self, number, headers):
        pseudo = {name: value for name, value in headers if name.startswith(":")}
        plain = [(name, value) for name, value in headers if not name.startswith(":")]
        self.place.note(version="HTTP/2", method=pseudo.get(":method"), target=pseudo.get(":path"),
                        authority=pseudo.get(":authority"), headers=[list(one) for one in plain])
        asked = replies.Asked(pseudo.get(":method"), pseudo.get(":path", "/"),
                              pseudo.get(":authority") or "", plain, lambda: self.body(number),
                              self.place.seen("HTTP/2"))
        try:
            status, told, parts, trailers = await replies.reply(asked)
            self.conn.send_headers(number, [(":status", str(status)), *told])
            await self.flush()
            if asked.method != "HEAD":
                async for part in parts:
                    await self.send(number, part)
            if trailers:
                self.conn.send_headers(number, trailers, end_stream=True)
            else:
                self.conn.end_stream(number)
            await self.flush()
        except (h2.exceptions.ProtocolError, ConnectionError, OSError):
            pass
        finally:
            self.streams.pop(number, None)

    async def send(self, number, data):
        while data:
            room = min(self.conn.local_flow_control_window(number), self.conn.max_outbound_frame_size)
            if room <= 0:
                self.window.clear()
                await self.window.wait()
                continue
            self.conn.send_data(number, data[:room])
            data = data[room:]
            await self.flush()


async def converse(reader, writer, place):
    try:
        await _Conversation(reader, writer, place).run()
    except (ConnectionError, OSError):
        pass
    finally:
        writer.close()
