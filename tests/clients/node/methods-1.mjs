// Every public method of @vercel/sandbox 1: methods-1.mjs PACKAGE. See report.mjs.

import assert from "node:assert/strict";
import { command, commands, restored, runs } from "./running.mjs";
import { files, filesystem } from "./files.mjs";
import { fields, is, proves, refused, report } from "./report.mjs";

const [, , from] = process.argv;
const { Sandbox, Snapshot } = await import(from);

const { SANDBOX_TOKEN: token, SANDBOX_TEAM: teamId, SANDBOX_PROJECT: projectId } = process.env;
const credentials = { token, teamId, projectId };
const day = 86_400_000;

const sandbox = await proves("Sandbox.create", () =>
  Sandbox.create({
    ...credentials,
    timeout: 240_000,
    runtime: "node24",
    resources: { vcpus: 1 },
    env: { FROM_CREATE: "yes" },
    networkPolicy: { allow: { "*.example.com": [], "api.example.net": [{ transform: [{ headers: { authorization: "secret" } }] }] } },
  }),
);
const user = (await (await sandbox.runCommand("id", ["-un"])).stdout()).trim();
const home = "/vercel/sandbox";
assert.equal(user, "vercel-sandbox");

await fields("Sandbox", sandbox, {
  sandboxId: is.text,
  status: is.exactly("running"),
  timeout: is.exactly(240_000),
  routes: is.list,
  interactivePort: is.some,
  createdAt: is.date,
  networkPolicy: (policy) => "*.example.com" in policy.allow && "api.example.net" in policy.allow,
  sourceSnapshotId: is.absent,
  activeCpuUsageMs: is.count,
  networkTransfer: (bytes) => is.count(bytes.ingress) && is.count(bytes.egress),
});
await runs("Sandbox", sandbox, { user, home, hasTimeout: false });
await commands("Sandbox", sandbox);
await files("Sandbox", sandbox, { owner: user, home });
await command(sandbox, { hasDuration: false });
await filesystem(sandbox.fs, 1001);
await proves("Sandbox.fs", () => sandbox.fs.access("/etc/passwd"));

await proves("Sandbox.extendTimeout", async () => {
  await sandbox.extendTimeout(60_000);
  assert.equal(sandbox.timeout, 300_000);
  await assert.rejects(sandbox.extendTimeout(100 * day), refused(400, "sandbox_timeout_invalid"));
});
await proves("Sandbox.updateNetworkPolicy", async () => {
  assert.equal(await sandbox.updateNetworkPolicy("deny-all"), "deny-all");
  assert.equal(await sandbox.updateNetworkPolicy("allow-all"), "allow-all");
  assert.equal(sandbox.networkPolicy, "allow-all");
});
await proves("Sandbox.get", async () => {
  const same = await Sandbox.get({ ...credentials, sandboxId: sandbox.sandboxId });
  assert.deepEqual([same.sandboxId, same.status], [sandbox.sandboxId, "running"]);
  assert.equal((await same.runCommand("true")).exitCode, 0);
  const absent = Sandbox.get({ ...credentials, sandboxId: `sbx_${"0".repeat(28)}` });
  await assert.rejects(absent, refused(404, "not_found"));
});
await proves("Sandbox.list", async () => {
  const { json } = await Sandbox.list(credentials);
  assert.deepEqual(json.sandboxes.map((each) => each.id), [sandbox.sandboxId]);
  const { json: none } = await Sandbox.list({ ...credentials, until: new Date(Date.now() - day) });
  assert.deepEqual(none.sandboxes, []);
});
await proves("Sandbox.domain", async () => {
  const made = await Sandbox.create({ ...credentials, ports: [3000] });
  const serve = "require('http').createServer((_, reply) => reply.end('served')).listen(3000)";
  await made.runCommand({ cmd: "node", args: ["-e", serve], detached: true });
  for (const began = Date.now(); ; ) {
    const reply = await fetch(made.domain(3000));
    if (reply.ok || 60_000 < Date.now() - began) {
      assert.equal(await reply.text(), "served");
      break;
    }
  }
  await made.stop();
});
await proves(["Sandbox.WORKFLOW_SERIALIZE", "Sandbox.WORKFLOW_DESERIALIZE"], async () => {
  assert.equal((await restored(Sandbox, sandbox).runCommand("true")).exitCode, 0);
});
for (const [type, detached] of [["Command", true], ["CommandFinished", false]]) {
  await proves([`${type}.WORKFLOW_SERIALIZE`, `${type}.WORKFLOW_DESERIALIZE`], async () => {
    const ran = await sandbox.runCommand({ cmd: "echo", args: ["kept"], detached });
    assert.equal(await restored(ran.constructor, ran).stdout(), "kept\n");
  });
}
await proves("Sandbox.stop", async () => {
  const made = await Sandbox.create({ ...credentials, timeout: 60_000 });
  await made.stop({ blocking: true });
  assert.equal(made.status, "stopped");
  await assert.rejects(made.runCommand("true"), refused(410, "sandbox_stopped"));
});
const snapshot = await proves("Sandbox.snapshot", async () => {
  await sandbox.writeFiles([{ path: "mark", content: "kept" }]);
  const snapshot = await sandbox.snapshot({ expiration: 2 * day });
  await assert.rejects(sandbox.runCommand("true"), (error) => [410, 422].includes(error.response.status));
  return snapshot;
});
await fields("Snapshot", snapshot, {
  snapshotId: is.text,
  sourceSandboxId: is.exactly(sandbox.sandboxId),
  status: is.exactly("created"),
  sizeBytes: is.some,
  createdAt: is.date,
  expiresAt: (at) => Math.abs(at - Date.now() - 2 * day) < 600_000,
});
await proves("Snapshot.get", async () => {
  const same = await Snapshot.get({ ...credentials, snapshotId: snapshot.snapshotId });
  assert.equal(same.sourceSandboxId, sandbox.sandboxId);
});
await proves("Snapshot.list", async () => {
  const { json } = await Snapshot.list(credentials);
  assert.ok(json.snapshots.some((each) => each.id === snapshot.snapshotId));
});
await proves("Sandbox.create", async () => {
  const source = { type: "snapshot", snapshotId: snapshot.snapshotId };
  await using made = await Sandbox.create({ ...credentials, source });
  assert.equal(`${await made.readFileToBuffer({ path: "mark" })}`, "kept");
});
await proves(["Snapshot.WORKFLOW_SERIALIZE", "Snapshot.WORKFLOW_DESERIALIZE"], async () => {
  assert.equal(restored(Snapshot, snapshot).snapshotId, snapshot.snapshotId);
});
await proves("Snapshot.delete", async () => {
  await snapshot.delete();
  assert.equal(snapshot.status, "deleted");
});
await sandbox.stop();

report(new URL(".", import.meta.resolve(from)).pathname);
