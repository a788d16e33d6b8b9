// What runs in the guest: on 127.0.0.1 alone, all that a web server may do.
import { createHash } from "node:crypto";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";

let release = () => {};

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, "http://guest");
  switch (url.pathname) {
    case "/echo":
      response.writeHead(200, { "content-type": "application/octet-stream" });
      return request.pipe(response);
    case "/count": {
      let count = 0;
      for await (const piece of request) count += piece.length;
      return response.end(String(count));
    }
    case "/zeros": {
      let left = Number(url.searchParams.get("count"));
      const piece = Buffer.alloc(65536);
      const more = () => {
        while (left > 0) {
          const some = piece.subarray(0, Math.min(left, piece.length));
          left -= some.length;
          if (!response.write(some)) return response.once("drain", more);
        }
        response.end();
      };
      return more();
    }
    case "/events":
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: first\n\n");
      release = () => response.end("data: last\n\n");
      return;
    case "/release":
      release();
      return response.end();
    case "/cut":
      response.writeHead(200, { "content-length": "100" });
      return response.write("half", () => response.destroy());
    default:
      response.setHeader("alt-svc", 'h3=":443"');
      return response.end(JSON.stringify({ url: request.url, method: request.method, headers: request.rawHeaders }));
  }
});

// A WebSocket that sends back short text messages.
server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on("data", (frame) => {
    if ((frame[0] & 15) === 8) return socket.end(Buffer.from([0x88, 0]));
    const mask = frame.subarray(2, 6);
    const text = frame.subarray(6, 6 + (frame[1] & 127)).map((byte, at) => byte ^ mask[at % 4]);
    socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
  });
  socket.on("error", () => {});
});

const garbage = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.end("SSH-2.0-OpenSSH_9.9\r\n\0\0\0");
});

const grpc = http2.createServer();
grpc.on("stream", (stream) => {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.pipe(stream);
});

const lines = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});

server.listen(3000, "127.0.0.1");
garbage.listen(3001, "127.0.0.1");
grpc.listen(3002, "127.0.0.1");
lines.listen(3003, "::1", () => console.log("listening"));
