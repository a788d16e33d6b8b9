// What a first program on @vercel/sandbox does, each result checked. Nothing here knows fumehood:
// where it goes and who it is come from the environment.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { text } from "node:stream/consumers";
import { APIError, Sandbox } from "@vercel/sandbox";

const { SANDBOX_TOKEN: token, SANDBOX_TEAM: teamId, SANDBOX_PROJECT: projectId } = process.env;
const credentials = { token, teamId, projectId };
const name = "first-light";

/** Does a step and says so: the last line that is missing tells where it failed. */
async function step(what, work) {
  const began = performance.now();
  const result = await work();
  console.log(`${what}: ${Math.round(performance.now() - began)} ms`);
  return result;
}

/** What an API error has to be. */
const refused = (status, code) => (error) => {
  assert.ok(error instanceof APIError, `${error}`);
  assert.deepEqual([error.response.status, error.json?.error?.code], [status, code], error.message);
  return true;
};

const sandbox = await step("create", async () => {
  const made = await Sandbox.create({
    ...credentials,
    name,
    timeout: 120_000,
    env: { FROM_CREATE: "yes" },
    tags: { suite: "first-light" },
  });
  assert.equal(made.name, name);
  assert.equal(made.status, "running");
  assert.equal(made.timeout, 120_000);
  assert.equal(made.vcpus, 1);
  assert.ok(made.memory >= 512);
  assert.deepEqual(made.tags, { suite: "first-light" });
  assert.ok(made.expiresAt > new Date());
  assert.ok(made.interactivePort > 0);
  assert.throws(() => made.domain(3000));
  return made;
});

await step("a name is taken once", () =>
  assert.rejects(Sandbox.create({ ...credentials, name }), refused(400, "bad_request")),
);

const noise = randomBytes(5 << 20);

await step("writeFiles", async () => {
  await sandbox.writeFiles([
    { path: "hello.txt", content: "héllo\n" },
    { path: "deep/er/tool.sh", content: "#!/bin/sh\necho tool $1\n", mode: 0o755 },
    { path: "/tmp/noise", content: noise },
    { path: `${"long/".repeat(40)}name`, content: "far down" },
    { path: "empty", content: "" },
  ]);
  const stat = await sandbox.runCommand("stat", ["-c", "%U %s %n", "hello.txt", "empty"]);
  assert.equal(await stat.stdout(), "fumehood 7 hello.txt\nfumehood 0 empty\n");
});

await step("runCommand, attached", async () => {
  const script = "echo out; echo err >&2; echo $FROM_CREATE $FROM_RUN; pwd; exit 7";
  const ran = await sandbox.runCommand({
    cmd: "sh",
    args: ["-c", script],
    env: { FROM_RUN: "a b" },
    cwd: "/tmp",
  });
  assert.equal(ran.exitCode, 7);
  assert.equal(await ran.stdout(), "out\nyes a b\n/tmp\n");
  assert.equal(await ran.stderr(), "err\n");
  assert.ok(ran.durationMs >= 0);
  assert.equal(ran.cwd, "/tmp");

  const tool = await sandbox.runCommand("deep/er/tool.sh", ["time"]);
  assert.deepEqual([tool.exitCode, await tool.stdout()], [0, "tool time\n"]);
  const sum = await sandbox.runCommand("sha256sum", ["/tmp/noise"]);
  assert.ok((await sum.stdout()).startsWith(createHash("sha256").update(noise).digest("hex")));
  const root = await sandbox.runCommand({ cmd: "id", args: ["-un"], sudo: true });
  assert.equal(await root.stdout(), "root\n");
  const node = await sandbox.runCommand("node", ["-e", "console.log(6 * 7)"]);
  assert.equal(await node.stdout(), "42\n");
});

await step("runCommand, a flood and torn characters", async () => {
  const flood = await sandbox.runCommand("seq", ["1", "100000"]);
  const lines = Array.from({ length: 100_000 }, (_, at) => `${at + 1}\n`).join("");
  assert.ok((await flood.stdout()) === lines, "a flood arrives whole");
  const torn = "printf '\\303'; sleep 0.3; printf '\\251\\n'";
  assert.equal(await (await sandbox.runCommand("sh", ["-c", torn])).stdout(), "é\n");
});

await step("runCommand, what cannot run", async () => {
  await assert.rejects(sandbox.runCommand("no-such-program"), refused(400, "executable_not_found"));
  const slow = await sandbox.runCommand({ cmd: "sleep", args: ["100"], timeoutMs: 500 });
  assert.equal(slow.exitCode, 137);
});

await step("runCommand, detached", async () => {
  const script = "for n in 1 2 3; do echo line $n; sleep 0.2; done; echo last >&2; exit 4";
  const command = await sandbox.runCommand({ cmd: "sh", args: ["-c", script], detached: true });
  assert.equal(command.exitCode, null);
  const seen = { stdout: "", stderr: "" };
  for await (const log of command.logs()) seen[log.stream] += log.data;
  assert.deepEqual(seen, { stdout: "line 1\nline 2\nline 3\n", stderr: "last\n" });
  const done = await command.wait();
  assert.equal(done.exitCode, 4);
  assert.ok(done.durationMs >= 600);

  const again = await sandbox.getCommand(command.cmdId);
  assert.equal(again.exitCode, 4);
  assert.equal(await again.stdout(), seen.stdout, "a log is read again from its start");
  await assert.rejects(sandbox.getCommand(`cmd_${"0".repeat(28)}`), refused(404, "not_found"));
});

await step("the first line of a log comes before the command ends", async () => {
  const script = "echo ready; exec sleep 100";
  const command = await sandbox.runCommand({ cmd: "sh", args: ["-c", script], detached: true });
  const logs = command.logs();
  assert.deepEqual((await logs.next()).value, { stream: "stdout", data: "ready\n" });
  logs.close();
  await command.kill("SIGKILL");
  assert.equal((await command.wait()).exitCode, 137);
});

await step("kill", async () => {
  const command = await sandbox.runCommand({ cmd: "sleep", args: ["100"], detached: true });
  await command.kill();
  assert.equal((await command.wait()).exitCode, 143);
  const trapping = "trap 'echo caught; exit 5' INT; echo set; while :; do sleep 0.1; done";
  const other = await sandbox.runCommand({ cmd: "sh", args: ["-c", trapping], detached: true });
  for await (const log of other.logs()) if (log.data.startsWith("set")) await other.kill("SIGINT");
  assert.equal((await other.wait()).exitCode, 5);
  assert.equal(await other.stdout(), "set\ncaught\n");
});

await step("mkDir", async () => {
  await sandbox.mkDir("folder");
  assert.equal((await sandbox.runCommand("test", ["-d", "folder"])).exitCode, 0);
  await assert.rejects(sandbox.mkDir("folder"), refused(400, "file_error"));
  await assert.rejects(sandbox.mkDir("no/such/parent"), refused(400, "file_error"));
});

await step("readFile", async () => {
  assert.equal(await text(await sandbox.readFile({ path: "hello.txt" })), "héllo\n");
  assert.equal(await text(await sandbox.readFile({ path: "tool.sh", cwd: "deep/er" })), "#!/bin/sh\necho tool $1\n");
  assert.equal(await text(await sandbox.readFile({ path: `${"long/".repeat(40)}name` })), "far down");
  assert.ok(noise.equals(await sandbox.readFileToBuffer({ path: "/tmp/noise" })));
  assert.equal((await sandbox.readFileToBuffer({ path: "empty" })).length, 0);
  assert.equal(await sandbox.readFile({ path: "absent" }), null);
  assert.equal(await sandbox.readFileToBuffer({ path: "absent" }), null);
});

await step("fs", async () => {
  await sandbox.fs.mkdir("tree/of", { recursive: true });
  await sandbox.fs.writeFile("tree/of/life", "text");
  await sandbox.fs.appendFile("tree/of/life", " and more");
  assert.equal(await sandbox.fs.readFile("tree/of/life", "utf8"), "text and more");
  assert.deepEqual(await sandbox.fs.readdir("tree"), ["of"]);
  const stat = await sandbox.fs.stat("tree/of/life");
  assert.deepEqual([stat.isFile(), stat.size, stat.uid], [true, 13, 1000]);
  await sandbox.fs.rm("tree", { recursive: true });
  assert.equal(await sandbox.fs.exists("tree"), false);
});

await step("get", async () => {
  const same = await Sandbox.get({ ...credentials, name });
  assert.deepEqual([same.name, same.status], [name, "running"]);
  assert.equal(same.currentSession().sessionId, sandbox.currentSession().sessionId);
  assert.equal(await (await same.runCommand("cat", ["hello.txt"])).stdout(), "héllo\n");
  const known = await Sandbox.getOrCreate({ ...credentials, name, onCreate: () => assert.fail() });
  assert.equal(known.currentSession().sessionId, sandbox.currentSession().sessionId);
  await assert.rejects(Sandbox.get({ ...credentials, name: "nobody" }), refused(404, "not_found"));
  await assert.rejects(Sandbox.get({ ...credentials, token: "wrong", name }), refused(401, "unauthorized"));
});

await step("list", async () => {
  const all = await (await Sandbox.list(credentials)).toArray();
  assert.deepEqual(all.map((each) => [each.name, each.status]), [[name, "running"]]);
  const fitting = await Sandbox.list({ ...credentials, sortBy: "name", namePrefix: "first", limit: 1 });
  assert.deepEqual(fitting.sandboxes.map((each) => each.name), [name]);
  const other = await Sandbox.list({ ...credentials, tags: { suite: "another" } });
  assert.deepEqual(other.sandboxes, []);
});

await step("stop", async () => {
  const session = sandbox.currentSession();
  await sandbox.stop();
  await sandbox.stop();
  assert.equal(sandbox.status, "stopped");
  await assert.rejects(session.runCommand("true"), refused(410, "sandbox_stopped"));
  const stopped = await Sandbox.get({ ...credentials, name, resume: false });
  assert.equal(stopped.status, "stopped");
});

await step("delete", async () => {
  await sandbox.delete();
  await assert.rejects(Sandbox.get({ ...credentials, name }), refused(404, "not_found"));
});

console.log("first light");
