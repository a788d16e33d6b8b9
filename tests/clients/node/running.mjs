// What runs: the methods of a sandbox, a session or a user that start commands, and of commands.

import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { proves, refused, fields, is } from "./report.mjs";

function collected() {
  let text = "";
  const stream = new Writable({ write: (chunk, _, done) => ((text += chunk), done()) });
  return { stream, text: () => text };
}

const shell = (script, more) => ({ cmd: "sh", args: ["-c", script], ...more });

/** `runCommand` of whatever has it. */
export async function runs(type, context, { user, home, hasTimeout = true }) {
  await proves(`${type}.runCommand`, async () => {
    const plain = await context.runCommand("id", ["-un"]);
    assert.deepEqual([plain.exitCode, await plain.stdout()], [0, `${user}\n`]);
    const [out, err] = [collected(), collected()];
    const full = await context.runCommand(
      shell('echo "$A"; pwd; echo err >&2; exit 7', {
        env: { A: "a b" },
        cwd: "/tmp",
        stdout: out.stream,
        stderr: err.stream,
      }),
    );
    assert.deepEqual([full.exitCode, out.text(), err.text()], [7, "a b\n/tmp\n", "err\n"]);
    assert.equal(await (await context.runCommand("pwd")).stdout(), `${home}\n`);
    if (hasTimeout) {
      const slow = await context.runCommand({ cmd: "sleep", args: ["100"], timeoutMs: 300 });
      assert.equal(slow.exitCode, 137);
    }
    const detached = await context.runCommand(shell("echo out; exit 4", { detached: true }));
    assert.equal((await detached.wait()).exitCode, 4);
    const root = await context.runCommand({ cmd: "id", args: ["-un"], sudo: true });
    assert.equal(await root.stdout(), "root\n");
  });
}

/** What only the one who talks to the API can tell. */
export async function commands(type, context) {
  await proves(`${type}.runCommand`, async () => {
    const missing = context.runCommand("no-such-program");
    await assert.rejects(missing, refused(400, "executable_not_found"));
    const gone = new AbortController();
    const aborted = context.runCommand({ cmd: "sleep", args: ["100"], signal: gone.signal });
    setTimeout(() => gone.abort(), 200);
    await assert.rejects(aborted, { name: "AbortError" });
    const sudo = await context.runCommand(
      shell('echo $HOME $USER $SUDO_USER $KEPT; echo $PATH', { sudo: true, env: { KEPT: "yes" } }),
    );
    const [first, path] = (await sudo.stdout()).split("\n");
    assert.equal(first, `/root root ${(await (await context.runCommand("id", ["-un"])).stdout()).trim()} yes`);
    assert.ok(path.split(":").includes("/usr/local/bin"), path);
  });
  await proves(`${type}.getCommand`, async () => {
    const command = await context.runCommand(shell("echo out; exit 4", { detached: true }));
    await command.wait();
    const again = await context.getCommand(command.cmdId);
    assert.deepEqual([again.cmdId, again.exitCode], [command.cmdId, 4]);
    const absent = context.getCommand(`cmd_${"0".repeat(28)}`);
    await assert.rejects(absent, refused(404, "not_found"));
  });
}

/** The methods of `Command` and `CommandFinished`. */
export async function command(context, { hasDuration = true } = {}) {
  const script = "echo one; sleep 0.2; echo two >&2; exit 4";
  const start = () => context.runCommand(shell(script, { detached: true }));
  const running = await proves(["Command.exitCode"], async () => {
    const running = await start();
    assert.equal(running.exitCode, null);
    return running;
  });
  await fields("Command", running, {
    cmdId: (id) => /^cmd_\w+$/.test(id),
    cwd: (cwd) => cwd.startsWith("/"),
    startedAt: (at) => Math.abs(at - Date.now()) < 600_000,
  });
  await proves("Command.logs", async () => {
    const read = async () => {
      const seen = { stdout: "", stderr: "" };
      for await (const log of running.logs()) seen[log.stream] += log.data;
      return seen;
    };
    for (const seen of await Promise.all([read(), read(), read()])) {
      assert.deepEqual(seen, { stdout: "one\n", stderr: "two\n" });
    }
    const waiting = await context.runCommand(shell("echo ready; exec sleep 100", { detached: true }));
    const logs = waiting.logs();
    assert.deepEqual((await logs.next()).value, { stream: "stdout", data: "ready\n" });
    logs.close();
    await waiting.kill("SIGKILL");
  });
  const finished = await proves(["Command.wait", "CommandFinished.exitCode"], async () => {
    const finished = await running.wait();
    assert.equal(finished.exitCode, 4);
    return finished;
  });
  if (hasDuration) {
    await fields("CommandFinished", finished, { durationMs: is.some });
    await fields("Command", await context.getCommand(running.cmdId), { durationMs: is.some });
  }
  await proves("CommandFinished.wait", async () => assert.equal((await finished.wait()).exitCode, 4));
  await proves("Command.output", async () => {
    assert.equal(await running.output(), "one\ntwo\n");
    assert.equal(await running.output("stderr"), "two\n");
  });
  await proves("Command.stdout", async () => assert.equal(await running.stdout(), "one\n"));
  await proves("Command.stderr", async () => assert.equal(await running.stderr(), "two\n"));
  await proves("Command.kill", async () => {
    for (const [signal, code] of [[undefined, 143], ["SIGINT", 130], ["SIGKILL", 137], [1, 129]]) {
      const command = await context.runCommand({ cmd: "sleep", args: ["100"], detached: true });
      await command.kill(signal);
      assert.equal((await command.wait()).exitCode, code, `${signal}`);
    }
    await finished.kill();
  });
}

/** An object out of the text that it was saved as. */
export function restored(Type, object) {
  const named = (word) => Object.getOwnPropertySymbols(Type).find((symbol) => symbol.description.includes(word));
  const saved = JSON.parse(JSON.stringify(Type[named("-serialize") ?? named("serialize")](object)));
  return Type[named("deserialize")](saved);
}
