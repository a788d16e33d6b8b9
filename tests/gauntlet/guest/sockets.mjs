// WebSocket as Node has it, so many times: what its own client gets, and what the reply says exactly.
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';

const [url, times] = process.argv.slice(2);

function head() {
  const { get } = url.startsWith('wss:') ? https : http;
  const headers = {
    connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13',
    'sec-websocket-key': randomBytes(16).toString('base64'),
  };
  return new Promise((resolve, reject) => {
    const request = get(url.replace('ws', 'http'), { headers, agent: false });
    request.on('error', reject);
    request.on('response', (reply) => reject(new Error(`status ${reply.statusCode}`)));
    request.on('upgrade', (reply, socket) => {
      socket.destroy();
      resolve({ connection: reply.headers.connection, upgrade: reply.headers.upgrade });
    });
  });
}

function echo() {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send('hello');
    socket.onmessage = (event) => { socket.close(); resolve(event.data); };
    socket.onclose = (event) => reject(new Error(`closed: ${event.code}`));
  });
}

const told = [];
for (let n = 0; n < times; n++) {
  told.push({ ...await head(), said: await echo().catch((error) => error.message) });
}
console.log(JSON.stringify(told));
