// A proxy as Vercel's SDK makes one, for what a sandbox's policy forwards. Nothing here knows fumehood:
// who the proxy believes is in the environment.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { Sandbox } from "@vercel/sandbox";
import { defineSandboxProxy } from "@vercel/sandbox/proxy";

const refused = [];
const proxy = defineSandboxProxy(
  async (request, meta) => Response.json({ url: request.url, path: new URL(request.url).pathname, ...meta }),
  (request, error) => {
    refused.push(error.message);
    return new Response("who is it?", { status: 403 });
  },
);

const server = createServer(async (request, reply) => {
  const headers = new Headers(request.headers);
  const { status, body } = await proxy(new Request(`http://${request.headers.host}${request.url}`, { headers }));
  reply.writeHead(status);
  for await (const piece of body ?? []) reply.write(piece);
  reply.end();
}).listen(0, "localhost");
await once(server, "listening");
const base = `http://localhost:${server.address().port}/from-sandboxes`;

// There need be no such host.
const host = "models.internal";
const sandbox = await Sandbox.create({
  persistent: false,
  networkPolicy: { allow: { [host]: [{ forwardURL: base }] }, subnets: { allow: ["127.0.0.1/32", "::1/128"] } },
});
try {
  const forged = ["-H", "vercel-sandbox-oidc-token: forged", "-H", "vercel-forwarded-host: liar.test"];
  const asked = await sandbox.runCommand("curl", ["-sS", ...forged, `https://${host}/is-number?q=1`]);
  const told = await asked.stdout();
  const { url, path, sandboxName, sandboxId, teamId, projectId } = JSON.parse(told);
  assert.deepEqual([url, path], [`https://${host}/is-number?q=1`, "/is-number"]);
  assert.deepEqual([sandboxName, sandboxId], [sandbox.name, sandbox.currentSession().sessionId]);
  assert.ok(teamId && projectId, told);
  assert.deepEqual(refused, []);

  // Who is no sandbox is not taken for one.
  const headers = { "vercel-forwarded-host": host, "vercel-forwarded-scheme": "https",
    "vercel-forwarded-port": "443", "vercel-forwarded-path": "/" };
  for (const token of [undefined, process.env.VERCEL_OIDC_TOKEN]) {
    const said = token ? { ...headers, "vercel-sandbox-oidc-token": token } : headers;
    assert.equal((await fetch(base, { headers: said })).status, 403);
  }
  assert.equal(refused.length, 2);
} finally {
  await sandbox.delete();
  server.close();
}
console.log("known by the proxy");
