// A program on @vercel/sandbox that knows nothing of pauses, while somebody else pauses its sandbox.

import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import { Sandbox } from "@vercel/sandbox";

const { SANDBOX_TOKEN: token, SANDBOX_TEAM: teamId, SANDBOX_PROJECT: projectId } = process.env;
const credentials = { token, teamId, projectId };
const name = "sleeper";

/** As somebody else does it. */
async function pause() {
  const url = `${process.env.FUMEHOOD_SERVER}/api/v1/fumehood/sandboxes/${name}/pause`;
  const reply = await fetch(url, { method: "POST", headers: { authorization: `Bearer ${token}` } });
  const { session } = await reply.json();
  assert.ok(reply.ok && session.pausedAt > 0, JSON.stringify(session));
}

const made = await Sandbox.create({ ...credentials, name, timeout: 600_000 });
await made.writeFiles([{ path: "file", content: Buffer.from("kept") }]);
await pause();
const ran = await made.runCommand("cat", ["file"]);
assert.deepEqual([ran.exitCode, await ran.stdout()], [0, "kept"]);

await pause();
const sandbox = await Sandbox.get({ ...credentials, name });
assert.equal(sandbox.status, "running");
const script = "for n in 1 2 3 4; do echo $n; sleep 0.2; done";
const command = await sandbox.runCommand({ cmd: "sh", args: ["-c", script], detached: true });
await pause();
const waking = sandbox.readFile({ path: "file" });
let output = "";
for await (const { data } of command.logs()) output += data;
assert.equal(output, "1\n2\n3\n4\n");
assert.equal(await text(await waking), "kept");

await pause();
await sandbox.stop();
const next = await sandbox.runCommand("cat", ["file"]);
assert.equal(await next.stdout(), "kept");
await sandbox.delete();
console.log("slept well");
