// Every command of the command line `sandbox`, as a person or a script runs it. See report.mjs.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { proves, tell } from "./report.mjs";

const run = promisify(execFile);
const folder = await mkdtemp(join(tmpdir(), "fumehood-cli-"));
const program = new URL("node_modules/sandbox/bin/sandbox.mjs", import.meta.url).pathname;
const { SANDBOX_TOKEN: token, SANDBOX_TEAM: team, SANDBOX_PROJECT: project } = process.env;
const environment = {
  ...process.env,
  NODE_OPTIONS: `--import=${new URL("shim.mjs", import.meta.url).pathname}`,
  VERCEL_AUTH_TOKEN: token,
  VERCEL_TELEMETRY_DISABLED: "1",
  SANDBOX_SKIP_VERSION_CHECK: "1",
  HOME: folder,
  NO_COLOR: "1",
};
const scope = ["--scope", team, "--project", project];
const name = "cli";

const nested = ["config", "snapshots", "sessions", "drives", "telemetry"];

/** Options of ours go behind the command's name, before its own words; what is about no server has none. */
function words([command, ...rest]) {
  if (["telemetry", "logout"].includes(command)) return [command, ...rest];
  return nested.includes(command) ? [command, rest[0], ...scope, ...rest.slice(1)] : [command, ...scope, ...rest];
}

/** Its words and its exit code; a refusal of the server's is told as one. */
async function said(...args) {
  try {
    const { stdout, stderr } = await run(process.execPath, [program, ...words(args)], { env: environment, cwd: folder });
    return { code: 0, text: `${stdout}${stderr}`.trimEnd(), out: stdout.trimEnd() };
  } catch (error) {
    return { code: error.code, text: `${error.stdout}${error.stderr}`, out: error.stdout };
  }
}

async function done(...args) {
  const { code, text, out } = await said(...args);
  if (code === 0) return { text, out };
  console.error(args, text);
  const status = /Status code (\d+)/.exec(text)?.[1];
  throw Object.assign(new Error(`exit code ${code}`), status && { response: { status }, json: {} });
}

const ok = async (...args) => (await done(...args)).text;
/** What is on standard output alone: of `exec`, what the command wrote there. */
const wrote = async (...args) => (await done(...args)).out;
const code = async (...args) => (await said(...args)).code;

/** A command of the program's is a member here: `sandbox.create`, `sandbox snapshots.get`. */
const command = (member, work) => proves(member, work);

await command("sandbox.create", async () => {
  assert.match(await ok("create", "--name", name, "--timeout", "5m", "--env", "A=b", "--tag", "suite=cli"), /cli/);
});
await command("sandbox.list", async () => assert.match(await ok("list"), /cli/));
await command("sandbox.exec", async () => {
  assert.equal(await wrote("exec", "-e", "B=c d", "-w", "/tmp", name, "sh", "-c", "echo $A $B; pwd"), "b c d\n/tmp");
  assert.equal(await code("exec", name, "sh", "-c", "exit 7"), 7);
  assert.equal(await wrote("exec", "--sudo", name, "id", "-un"), "root");
});
await command("sandbox.copy", async () => {
  const [here, there] = [join(folder, "here"), join(folder, "back")];
  await writeFile(here, "copied\n");
  await ok("copy", here, `${name}:/tmp/there`);
  await ok("copy", `${name}:/tmp/there`, there);
  assert.equal(await readFile(there, "utf8"), "copied\n");
});
await command("sandbox.run", async () => {
  assert.match(await ok("run", "--rm", "echo", "ran"), /ran$/);
  assert.equal(await code("run", "--rm", "false"), 1);
});

/** A person at a terminal: what is typed, and what is to be read after it. */
async function terminal(args, dialogue) {
  const session = `fumehood-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const tmux = (...args) => run("tmux", ["-L", session, ...args]);
  const quoted = [process.execPath, program, ...words(args)].map((word) => `'${word}'`).join(" ");
  const script = join(folder, session);
  await writeFile(script, `${quoted}; echo "[exit code $?]"; sleep 1000\n`);
  await run("tmux", ["-L", session, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", `sh ${script}`], { env: environment, cwd: folder });
  try {
    let seen = "";
    for (const [type, expected] of dialogue) {
      if (type) await tmux("send-keys", type, "Enter");
      for (const began = Date.now(); ; await new Promise((done) => setTimeout(done, 100))) {
        seen = (await tmux("capture-pane", "-p")).stdout;
        if (expected.test(seen)) break;
        assert.ok(Date.now() - began < 60_000, `not ${expected}:\n${seen}`);
      }
    }
    return seen;
  } finally {
    await tmux("kill-server");
  }
}
const shell = [["", /^▲ .*\/ *$/m], ["echo $((6 * 7)); stty size", /^42\n30 100/m], ["exit 5", /\[exit code 5\]/]];
await command("sandbox.connect", () => terminal(["connect", name], shell));
await command("sandbox.sh", () => terminal(["sh", "--name", "shell"], shell).finally(() => code("rm", "shell")));
await command("sandbox.exec", () => terminal(["exec", "--interactive", name, "sh", "-c", "echo said; exit 6"], [["", /said[^]*\[exit code 6\]/]]));

await command("sandbox.config list", async () => assert.match(await ok("config", "list", name), /vCPUs/i));
for (const [option, value] of [
  ["vcpus", "2"],
  ["timeout", "10m"],
  ["persistent", "true"],
  ["region", "iad1"],
  ["failover-regions", "none"],
  ["network-id", "none"],
  ["snapshot-expiration", "7d"],
  ["keep-last-snapshots", "3"],
  ["keep-last-snapshots-for", "7d"],
  ["delete-evicted-snapshots", "false"],
]) {
  await command(`sandbox.config ${option}`, () => ok("config", option, name, value));
}
await command("sandbox.config network-policy", () => ok("config", "network-policy", name, "--network-policy", "allow-all"));
await command("sandbox.config ports", () => ok("config", "ports", name, "--publish-port", "3000"));
await command("sandbox.config tags", () => ok("config", "tags", name, "--tag", "suite=updated"));

await command("sandbox.sessions list", async () => assert.match(await ok("sessions", "list", name), /sbx_/));
const id = await command("sandbox.snapshot", async () => {
  const said = await ok("snapshot", "--stop", name);
  return /snap_\w+/.exec(said)[0];
});
await command("sandbox.snapshots list", async () => assert.ok((await ok("snapshots", "list")).includes(id)));
await command("sandbox.snapshots get", async () => assert.ok((await ok("snapshots", "get", id)).includes(id)));
await command("sandbox.snapshots tree", async () => assert.ok((await ok("snapshots", "tree", name)).includes(id)));
await command("sandbox.config current-snapshot", () => ok("config", "current-snapshot", name, id));
await command("sandbox.fork", async () => {
  assert.match(await ok("fork", name, "--name", "forked"), /forked/);
  await ok("rm", "forked");
});
await command("sandbox.drives get-or-create", () => ok("drives", "get-or-create", "disk"));
await command("sandbox.config mounts", async () => {
  await ok("config", "mounts", name, "--mount", "disk:/other");
  assert.match(await ok("config", "list", name), /disk:\/other/);
  assert.equal((await ok("exec", name, "sh", "-c", "cat /proc/mounts")).match(/ \/other ext4 /g)?.length, 1);
  await ok("config", "mounts", name);
  assert.doesNotMatch(await ok("config", "list", name), /disk/);
  await ok("stop", name);
});
await command("sandbox.drives list", async () => assert.match(await ok("drives", "list"), /disk/));
await command("sandbox.drives delete", () => ok("drives", "delete", "disk"));
await command("sandbox.stop", async () => {
  await ok("stop", name);
  assert.match(await ok("list", "--all"), /cli/);
});
await command("sandbox.remove", async () => {
  await ok("remove", name);
  assert.notEqual(await code("exec", name, "true"), 0);
});
await command("sandbox.snapshots delete", () => ok("snapshots", "delete", id));
// The environment has the last word, and says that nothing is to be told.
for (const name of ["enable", "disable", "status"]) {
  await command(`sandbox.telemetry ${name}`, async () => assert.match(await ok("telemetry", name), /status: disabled/i));
}
await command("sandbox.logout", async () => assert.match(await ok("logout"), /not currently logged in/));
await command("sandbox.login", () => {
  throw new Error("it signs in at vercel.com; a token of this server is all that is needed");
});

/** The commands that the program's own help names. */
async function published() {
  const named = async (...args) => {
    const { stdout, stderr } = await run(process.execPath, [program, ...args, "--help"], { env: environment });
    const [, list = ""] = /Commands:\n\n([^]*?)\n\n/.exec(`${stdout}${stderr}`) ?? [];
    return list.split("\n").map((line) => /^ {4}(?:\w+ \| )?([\w-]+)/.exec(line)?.[1]).filter(Boolean);
  };
  const all = [];
  for (const name of await named()) {
    const below = nested.includes(name) ? await named(name) : [];
    all.push(...(below.length ? below.map((each) => `sandbox.${name} ${each}`) : [`sandbox.${name}`]));
  }
  return new Set(all);
}
tell(await published());
