// Every public method of @vercel/sandbox 2 and 3: methods.mjs PACKAGE. See report.mjs.

import assert from "node:assert/strict";
import { command, commands, restored, runs } from "./running.mjs";
import { files, filesystem } from "./files.mjs";
import { fields, is, proves, refused, report } from "./report.mjs";

const [, , from] = process.argv;
const { Drive, Sandbox, Snapshot } = await import(from);

const { SANDBOX_TOKEN: token, SANDBOX_TEAM: teamId, SANDBOX_PROJECT: projectId } = process.env;
const credentials = { token, teamId, projectId };
const name = "methods";
const short = { ...credentials, timeout: 120_000, persistent: false };
const day = 86_400_000;

const sandbox = await proves("Sandbox.create", () =>
  Sandbox.create({
    ...credentials,
    name,
    timeout: 240_000,
    resources: { vcpus: 1 },
    env: { FROM_CREATE: "yes" },
    tags: { suite: "methods" },
  }),
);
const { username, group } = await proves("Sandbox.getDefaultUser", () => sandbox.getDefaultUser());
const home = sandbox.cwd;
const session = await proves("Sandbox.currentSession", async () => sandbox.currentSession());

await fields("Sandbox", sandbox, {
  name: is.exactly(name),
  status: is.exactly("running"),
  persistent: is.exactly(true),
  region: is.text,
  vcpus: is.exactly(1),
  memory: is.some,
  runtime: is.text,
  image: is.text,
  timeout: is.exactly(240_000),
  tags: (tags) => tags.suite === "methods",
  cwd: (cwd) => cwd.startsWith("/"),
  routes: is.list,
  interactivePort: is.some,
  createdAt: is.date,
  updatedAt: is.date,
  statusUpdatedAt: is.date,
  expiresAt: (at) => Date.now() < at && at < Date.now() + 240_000,
  networkPolicy: is.exactly("allow-all"),
  sourceSnapshotId: is.absent,
  currentSnapshotId: is.absent,
  snapshotExpiration: (ms) => ms === undefined || is.count(ms),
  keepLastSnapshots: (keep) => keep === undefined || is.count(keep.count),
  activeCpuUsageMs: is.count,
  networkTransfer: (bytes) => is.count(bytes.ingress) && is.count(bytes.egress),
  totalEgressBytes: is.count,
  totalIngressBytes: is.count,
  totalActiveCpuDurationMs: is.count,
  totalDurationMs: is.count,
  ...(Drive && { failoverRegions: is.list, networkId: is.absent, mounts: (all) => !all || !Object.keys(all).length }),
});
await fields("Session", session, {
  sessionId: is.text,
  status: is.exactly("running"),
  memory: is.some,
  vcpus: is.exactly(1),
  region: is.text,
  runtime: is.text,
  cwd: is.exactly(home),
  timeout: is.exactly(240_000),
  routes: is.list,
  interactivePort: is.some,
  createdAt: is.date,
  updatedAt: is.date,
  requestedAt: is.date,
  startedAt: is.date,
  networkPolicy: is.exactly("allow-all"),
  sourceSnapshotId: is.absent,
  snapshottedAt: is.absent,
  requestedStopAt: is.absent,
  abortedAt: is.absent,
  activeCpuUsageMs: is.count,
  networkTransfer: (bytes) => is.count(bytes.ingress) && is.count(bytes.egress),
});

for (const [type, context] of [["Sandbox", sandbox], ["Session", session]]) {
  await runs(type, context, { user: username, home });
  await commands(type, context);
  await files(type, context, { owner: username, home });
  await proves(`${type}.openInteractive`, async () => {
    const { url, token } = await context.openInteractive();
    assert.match(url, /^wss?:/);
    assert.ok(is.text(token));
  });
  await proves(`${type}.extendTimeout`, async () => {
    const before = session.timeout;
    await context.extendTimeout(60_000);
    assert.equal(session.timeout, before + 60_000);
    await assert.rejects(context.extendTimeout(100 * day), refused(400, "sandbox_timeout_invalid"));
  });
}
await command(sandbox);
await filesystem(sandbox.fs, 1000);
await proves("Sandbox.fs", () => sandbox.fs.access("/etc/passwd"));

const user = await proves(["Sandbox.createUser", "SandboxUser.username", "SandboxUser.homeDir"], async () => {
  const user = await sandbox.createUser("alice");
  assert.deepEqual([user.username, user.homeDir], ["alice", "/home/alice"]);
  await assert.rejects(sandbox.createUser("alice"), { name: "SandboxUserAlreadyExistsError" });
  return user;
});
await runs("SandboxUser", user, { user: "alice", home: "/home/alice" });
await files("SandboxUser", user, { owner: "alice", home: "/home/alice" });
await proves("Sandbox.asUser", async () => {
  assert.equal(await (await sandbox.asUser("root").runCommand("id", ["-un"])).stdout(), "root\n");
});
const groups = async () => (await (await user.runCommand("id", ["-Gn"])).stdout()).trim().split(" ");
await proves("Sandbox.createGroup", async () => {
  const { sharedDir } = await sandbox.createGroup("crew");
  const stat = await sandbox.runCommand("stat", ["-c", "%a %G", sharedDir]);
  assert.equal(await stat.stdout(), "2770 crew\n");
});
for (const [add, remove] of [
  [["Sandbox.addUserToGroup", () => sandbox.addUserToGroup("alice", "crew")],
   ["Sandbox.removeUserFromGroup", () => sandbox.removeUserFromGroup("alice", "crew")]],
  [["SandboxUser.addToGroup", () => user.addToGroup("crew")],
   ["SandboxUser.removeFromGroup", () => user.removeFromGroup("crew")]],
]) {
  await proves(add[0], async () => (await add[1](), assert.ok((await groups()).includes("crew"))));
  await proves(remove[0], async () => (await remove[1](), assert.ok(!(await groups()).includes("crew"))));
}
await proves(["Sandbox.getDefaultUser", "Sandbox.createUser", "Sandbox.asUser"], async () => {
  const hosted = await Sandbox.create({ ...short, name: "hosted", runtime: "node22" });
  assert.deepEqual(await hosted.getDefaultUser(), { username: "vercel-sandbox", group: "vercel-sandbox" });
  await hosted.createUser("bob");
  await hosted.asUser("bob").writeFiles([{ path: "note", content: "of bob" }]);
  await hosted.writeFiles([{ path: "tool", content: "echo $USER in $PWD, home $HOME", mode: 0o755 }]);
  const stat = await hosted.runCommand({ cmd: "stat", args: ["-c", "%U:%G", "tool", "/home/bob", "/home/bob/note"], sudo: true });
  assert.equal(await stat.stdout(), "vercel-sandbox:vercel-sandbox\nbob:vercel-sandbox\nbob:bob\n");
  const ran = await hosted.runCommand("sh", ["tool"]);
  assert.equal(await ran.stdout(), "vercel-sandbox in /vercel/sandbox, home /home/vercel-sandbox\n");
  await hosted.delete();
});

const policy = {
  allow: {
    "*.example.com": [],
    "api.example.net": [
      { match: { method: ["GET"], path: { startsWith: "/v1/" } }, transform: [{ headers: { authorization: "secret" } }] },
    ],
  },
  subnets: { deny: ["192.0.2.0/24"] },
};
const shown = (given) => {
  assert.deepEqual(Object.keys(given.allow).sort(), ["*.example.com", "api.example.net"]);
  const [rule] = given.allow["api.example.net"];
  assert.deepEqual(rule.transform, [{ headers: { authorization: "<redacted>" } }]);
  assert.deepEqual(rule.match, policy.allow["api.example.net"][0].match);
  assert.deepEqual(given.subnets, policy.subnets);
};
await proves("Sandbox.updateNetworkPolicy", async () => {
  assert.equal(await sandbox.updateNetworkPolicy("deny-all"), "deny-all");
  shown(await sandbox.updateNetworkPolicy(policy));
  shown((await Sandbox.get({ ...credentials, name })).networkPolicy);
});
await proves("Session.update", async () => {
  await session.update({ networkPolicy: "allow-all" });
  assert.equal(session.networkPolicy, "allow-all");
});

for (const [type, get] of [["Sandbox", (made) => made], ["Session", (made) => made.currentSession()]]) {
  await proves(`${type}.domain`, async () => {
    await using made = await Sandbox.create({ ...short, ports: [3000] });
    const serve = "require('http').createServer((asked, reply) => reply.end(asked.url)).listen(3000)";
    await made.runCommand({ cmd: "node", args: ["-e", serve], detached: true });
    for (const began = Date.now(); ; ) {
      const reply = await fetch(get(made).domain(3000));
      if (reply.ok || 60_000 < Date.now() - began) {
        assert.equal(await reply.text(), "/");
        break;
      }
    }
    const domain = get(made).domain(3000);
    for (const url of [`${domain}/a?b=c`, new URL("/a?b=c", domain)]) {
      assert.equal(await (await fetch(url)).text(), "/a?b=c");
    }
    assert.throws(() => get(made).domain(4000));
  });
}
await proves("Session.updateRoutes", async () => session.updateRoutes(session.routes));

await proves("Sandbox.get", async () => {
  const same = await Sandbox.get({ ...credentials, name });
  assert.equal(same.currentSession().sessionId, session.sessionId);
  await assert.rejects(Sandbox.get({ ...credentials, name: "nobody" }), refused(404, "not_found"));
  await assert.rejects(Sandbox.get({ ...credentials, token: "wrong", name }), refused(401, "unauthorized"));
});
await proves("Sandbox.list", async () => {
  const names = async (query) => (await (await Sandbox.list({ ...credentials, ...query })).toArray()).map((each) => each.name);
  assert.ok((await names()).includes(name));
  assert.deepEqual(await names({ sortBy: "name", namePrefix: "method", limit: 1 }), [name]);
  assert.deepEqual(await names({ tags: { suite: "methods" } }), [name]);
  assert.deepEqual(await names({ tags: { suite: "others" } }), []);
});
await proves("Sandbox.getOrCreate", async () => {
  const known = await Sandbox.getOrCreate({ ...credentials, name, onCreate: () => assert.fail() });
  assert.equal(known.currentSession().sessionId, session.sessionId);
  let told = 0;
  const made = await Sandbox.getOrCreate({ ...short, name: "made", onCreate: async () => (told += 1) });
  assert.equal(told, 1);
  await made.delete();
});
for (const [type, Type, object, live] of [
  ["Sandbox", Sandbox, sandbox, (one) => one.runCommand("true")],
  ["Session", session.constructor, session, (one) => one.runCommand("true")],
]) {
  await proves([`${type}.WORKFLOW_SERIALIZE`, `${type}.WORKFLOW_DESERIALIZE`], async () => {
    assert.equal((await live(restored(Type, object))).exitCode, 0);
  });
}
for (const [type, detached] of [["Command", true], ["CommandFinished", false]]) {
  await proves([`${type}.WORKFLOW_SERIALIZE`, `${type}.WORKFLOW_DESERIALIZE`], async () => {
    const ran = await sandbox.runCommand({ cmd: "echo", args: ["kept"], detached });
    assert.equal(await restored(ran.constructor, ran).stdout(), "kept\n");
  });
}

await proves("Sandbox.update", async () => {
  const ends = sandbox.expiresAt.getTime();
  await sandbox.update({ timeout: 300_000, tags: { suite: "updated" }, networkPolicy: "deny-all" });
  assert.deepEqual([sandbox.timeout, sandbox.tags, sandbox.networkPolicy], [300_000, { suite: "updated" }, "deny-all"]);
  assert.ok(ends < sandbox.expiresAt.getTime() || sandbox.currentSession().timeout >= 300_000);
  await sandbox.update({ resources: { vcpus: 2 }, keepLastSnapshots: { count: 5 }, snapshotExpiration: day });
  assert.deepEqual([sandbox.keepLastSnapshots?.count, sandbox.snapshotExpiration], [5, day]);
  await sandbox.update({ networkPolicy: "allow-all", resources: { vcpus: 1 } });
});

// What stays when a session ends.
const mark = (text) => sandbox.writeFiles([{ path: "mark", content: text }]);
const marked = async (one) => `${await one.readFileToBuffer({ path: "mark" })}`;
const snapshot = await proves("Sandbox.snapshot", async () => {
  await mark("first");
  const snapshot = await sandbox.snapshot({ expiration: 2 * day });
  assert.equal(snapshot.status, "created");
  assert.equal(await marked(sandbox), "first", "it goes on from its snapshot");
  assert.notEqual(sandbox.currentSession().sessionId, session.sessionId);
  return snapshot;
});
await fields("Snapshot", snapshot, {
  snapshotId: is.text,
  sourceSessionId: is.exactly(session.sessionId),
  status: is.exactly("created"),
  sizeBytes: is.some,
  createdAt: is.date,
  updatedAt: is.date,
  expiresAt: (at) => Math.abs(at - Date.now() - 2 * day) < 600_000,
  ...(Drive && { regions: is.list }),
});
await proves("Session.snapshot", async () => {
  await mark("second");
  const second = await sandbox.currentSession().snapshot();
  assert.equal(second.status, "created");
  assert.equal(await marked(sandbox), "second");
});
await proves("Snapshot.get", async () => {
  const same = await Snapshot.get({ ...credentials, snapshotId: snapshot.snapshotId });
  assert.equal(same.sourceSessionId, session.sessionId);
  const absent = Snapshot.get({ ...credentials, snapshotId: `snap_${"0".repeat(28)}` });
  await assert.rejects(absent, (error) => error.response.status === 404 || error.response.status === 410);
});
await proves("Snapshot.list", async () => {
  const all = await (await Snapshot.list({ ...credentials, name })).toArray();
  assert.ok(all.some((each) => each.id === snapshot.snapshotId));
});
await proves("Sandbox.listSnapshots", async () => {
  const all = await (await sandbox.listSnapshots({ sortOrder: "asc" })).toArray();
  assert.equal(all[0].id, snapshot.snapshotId);
});
await proves("Sandbox.listSessions", async () => {
  const all = await (await sandbox.listSessions()).toArray();
  assert.ok(2 < all.length && all.some((each) => each.id === session.sessionId));
});
await proves("Snapshot.tree", async () => {
  const [first, second] = (await (await sandbox.listSnapshots({ sortOrder: "asc" })).toArray()).map((each) => each.id);
  const ids = async (query) => (await (await Snapshot.tree({ ...credentials, ...query })).toArray()).map((node) => node.snapshot.id);
  assert.deepEqual(await ids({ snapshotId: first, sortOrder: "asc", limit: 1 }), [first, second]);
  assert.deepEqual(await ids({ snapshotId: second, sortOrder: "desc" }), [second, first]);
});
await proves(["Snapshot.WORKFLOW_SERIALIZE", "Snapshot.WORKFLOW_DESERIALIZE"], async () => {
  assert.equal(restored(Snapshot, snapshot).snapshotId, snapshot.snapshotId);
});
await proves("Sandbox.create", async () => {
  const source = { type: "snapshot", snapshotId: snapshot.snapshotId };
  await using made = await Sandbox.create({ ...short, source });
  assert.equal(await marked(made), "first");
  assert.equal(made.sourceSnapshotId, snapshot.snapshotId);
});
await proves("Sandbox.fork", async () => {
  const fork = await Sandbox.fork({ ...credentials, sourceSandbox: name, name: "forked", tags: { of: "fork" } });
  assert.deepEqual([await marked(fork), fork.tags], ["second", { of: "fork" }]);
  const env = await fork.runCommand("sh", ["-c", "echo $FROM_CREATE"]);
  assert.equal(await env.stdout(), "yes\n");
  const query = { sortBy: "name", sortOrder: "asc", limit: 1 };
  const names = (await (await Sandbox.list({ ...credentials, ...query })).toArray()).map((each) => each.name);
  assert.deepEqual(names, [...new Set(names)].sort(), "page by page");
  assert.ok(names.includes("forked") && names.includes(name), `${names}`);
  await fork.delete({ deleteOrphanSnapshots: true });
});
await proves("Sandbox.update", async () => {
  await sandbox.update({ currentSnapshotId: snapshot.snapshotId });
  await sandbox.stop();
  await sandbox.update({ currentSnapshotId: snapshot.snapshotId });
  assert.equal(await marked(sandbox), "first", "rolled back");
});

if (Drive) {
  const drive = await proves("Drive.getOrCreate", () => Drive.getOrCreate({ ...credentials, name: "disk", maxSize: 1 << 30 }));
  await fields("Drive", drive, {
    driveId: is.text,
    name: is.exactly("disk"),
    projectId: is.exactly(projectId),
    region: is.text,
    maxSize: is.some,
    createdAt: is.date,
    updatedAt: is.date,
  });
  const read = async (mounts) => {
    await using made = await Sandbox.create({ ...short, mounts });
    const command = await made.runCommand("cat", ["/data/kept"]);
    return command.stdout();
  };
  await proves(["Drive.currentSessionId", "Drive.currentSandboxName"], async () => {
    await using made = await Sandbox.create({ ...short, mounts: { "/data": drive } });
    await made.runCommand({ cmd: "sh", args: ["-c", "echo kept >/data/kept"], sudo: true });
    const [attached] = (await Drive.list(credentials)).drives;
    assert.equal(attached.currentSandboxName, made.name);
    assert.equal(attached.currentSessionId, made.currentSession().sessionId);
    await made.update({ mounts: { "/other": drive.snapshot() } });
    assert.deepEqual({ ...made.mounts }, { "/other": { drive: "disk", mode: "snapshot" } });
  });
  await proves("Drive.snapshot", async () => assert.equal(await read({ "/data": drive.snapshot() }), "kept\n"));
  await proves("Drive.list", async () => {
    assert.deepEqual((await (await Drive.list(credentials)).toArray()).map((each) => each.name), ["disk"]);
  });
  await proves(["Drive.WORKFLOW_SERIALIZE", "Drive.WORKFLOW_DESERIALIZE"], async () => {
    assert.equal(restored(Drive, drive).name, "disk");
  });
  await proves("Drive.delete", async () => {
    await drive.delete();
    assert.deepEqual((await Drive.list(credentials)).drives, []);
  });
}

const last = sandbox.currentSession();
await proves("Session.stop", async () => {
  await last.stop();
  await last.stop();
  assert.equal(last.status, "stopped");
  await assert.rejects(last.runCommand("true"), refused(410, "sandbox_stopped"));
});
await fields("Session", last, { stoppedAt: is.date, duration: is.some });
await proves("Sandbox.stop", async () => {
  assert.equal((await sandbox.runCommand("true")).exitCode, 0, "it wakes by itself");
  await sandbox.stop();
  await sandbox.stop();
  assert.equal(sandbox.status, "stopped");
  const stopped = await Sandbox.get({ ...credentials, name, resume: false });
  assert.equal(stopped.status, "stopped");
});
await proves("Snapshot.delete", async () => {
  await snapshot.delete();
  assert.equal(snapshot.status, "deleted");
});
await proves("Sandbox.getOrCreate", async () => {
  for (const { id, status } of await (await Snapshot.list({ ...credentials, name })).toArray()) {
    if (status === "created") await (await Snapshot.get({ ...credentials, snapshotId: id })).delete();
  }
  const brief = await Sandbox.create({ ...short, name: "brief" });
  await brief.stop();
  for (const wanted of [{ ...credentials, name }, { ...short, name: "brief" }]) {
    let told = 0;
    const again = await Sandbox.getOrCreate({ ...wanted, onCreate: async () => (told += 1) });
    assert.equal(told, 1, "with nothing to go on from it is made anew");
    assert.equal(await again.readFile({ path: "mark" }), null);
    assert.equal((await again.runCommand("true")).exitCode, 0);
    const same = await Sandbox.getOrCreate({ ...wanted, resume: true, onCreate: () => assert.fail() });
    assert.equal(same.currentSession().sessionId, again.currentSession().sessionId);
  }
  await brief.delete();
});
await proves("Sandbox.delete", async () => {
  await sandbox.delete({ deleteOrphanSnapshots: true });
  await assert.rejects(Sandbox.get({ ...credentials, name }), refused(404, "not_found"));
});

report(new URL(".", import.meta.resolve(from)).pathname);
