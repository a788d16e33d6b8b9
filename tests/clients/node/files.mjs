// Files: the methods of a sandbox, a session or a user, and of `sandbox.fs`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { proves, refused } from "./report.mjs";

const noise = randomBytes(2 << 20);

export async function files(type, context, { owner, home }) {
  const stat = async (format, path) => {
    const command = await context.runCommand("stat", ["-c", format, path]);
    return (await command.stdout()).trim();
  };
  await proves(`${type}.writeFiles`, async () => {
    await context.writeFiles([
      { path: `${type}/deep/hello.txt`, content: "héllo\n" },
      { path: `${home}/${type}-tool`, content: Buffer.from("#!/bin/sh\necho tool $1\n"), mode: 0o755 },
      { path: `${type}/noise`, content: noise },
      { path: `${type}/${"long/".repeat(40)}name`, content: "" },
    ]);
    assert.equal(await stat("%U %s %F", `${home}/${type}/deep/hello.txt`), `${owner} 7 regular file`);
    assert.equal(await stat("%U %F", `${home}/${type}`), `${owner} directory`);
    const tool = await context.runCommand(`${home}/${type}-tool`, ["time"]);
    assert.equal(await tool.stdout(), "tool time\n");
    assert.equal(await stat("%s", `${type}/${"long/".repeat(40)}name`), "0");
  });
  await proves(`${type}.readFile`, async () => {
    assert.ok(noise.equals(await buffer(await context.readFile({ path: `${type}/noise` }))));
    assert.equal(await context.readFile({ path: "absent" }), null);
  });
  await proves(`${type}.readFileToBuffer`, async () => {
    const cwd = `${home}/${type}/deep`;
    assert.equal(`${await context.readFileToBuffer({ path: "hello.txt", cwd })}`, "héllo\n");
    assert.equal(await context.readFileToBuffer({ path: "absent" }), null);
  });
  await proves(`${type}.downloadFile`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "fumehood-download-"));
    const path = join(folder, "new", "noise");
    const to = await context.downloadFile({ path: `${type}/noise` }, { path }, { mkdirRecursive: true });
    assert.equal(to, path);
    assert.ok(noise.equals(await readFile(path)));
    assert.equal(await context.downloadFile({ path: "absent" }, { path }), null);
  });
  await proves(`${type}.mkDir`, async () => {
    const path = `${type}-folder`;
    await context.mkDir(path);
    assert.equal(await stat("%U %F", path), `${owner} directory`);
    await assert.rejects(context.mkDir(path), refused(400, "file_error"));
    await assert.rejects(context.mkDir("no/such/parent"), refused(400, "file_error"));
  });
}

export async function filesystem(fs, uid) {
  const one = (name, work) => proves(`FileSystem.${name}`, work);
  const failing = (promise, code) => assert.rejects(promise, (error) => error.code === code);
  await one("mkdir", async () => {
    await fs.mkdir("tree/of", { recursive: true });
    await assert.rejects(fs.mkdir("tree"), refused(400, "file_error"));
  });
  await one("writeFile", () => fs.writeFile("tree/of/life", "text"));
  await one("appendFile", () => fs.appendFile("tree/of/life", " and more"));
  await one("readFile", async () => {
    assert.equal(await fs.readFile("tree/of/life", "utf8"), "text and more");
    assert.ok(Buffer.isBuffer(await fs.readFile("tree/of/life")));
    await failing(fs.readFile("absent"), "ENOENT");
  });
  await one("readdir", async () => {
    assert.deepEqual(await fs.readdir("tree"), ["of"]);
    const [entry] = await fs.readdir("tree", { withFileTypes: true });
    assert.deepEqual([entry.name, entry.isDirectory()], ["of", true]);
    await failing(fs.readdir("absent"), "ENOENT");
  });
  await one("symlink", () => fs.symlink("of/life", "tree/link"));
  await one("readlink", async () => assert.equal(await fs.readlink("tree/link"), "of/life"));
  await one("realpath", async () => assert.match(await fs.realpath("tree/link"), /^\/.*\/tree\/of\/life$/));
  await one("stat", async () => {
    const stat = await fs.stat("tree/link");
    assert.deepEqual([stat.isFile(), stat.size, stat.uid], [true, 13, uid]);
    assert.ok(Math.abs(stat.mtimeMs - Date.now()) < 600_000);
    await failing(fs.stat("absent"), "ENOENT");
  });
  await one("lstat", async () => assert.ok((await fs.lstat("tree/link")).isSymbolicLink()));
  await one("chmod", async () => {
    await fs.chmod("tree/of/life", 0o640);
    assert.equal((await fs.stat("tree/of/life")).mode & 0o777, 0o640);
  });
  await one("chown", () => fs.chown("tree/of/life", uid, uid));
  await one("access", async () => {
    await fs.access("tree/of/life");
    await failing(fs.access("absent"), "ENOENT");
  });
  await one("exists", async () => {
    assert.deepEqual([await fs.exists("tree"), await fs.exists("absent")], [true, false]);
  });
  await one("truncate", async () => {
    await fs.truncate("tree/of/life", 4);
    assert.equal(await fs.readFile("tree/of/life", "utf8"), "text");
  });
  await one("copyFile", async () => {
    await fs.copyFile("tree/of/life", "tree/copy");
    assert.equal(await fs.readFile("tree/copy", "utf8"), "text");
  });
  await one("rename", async () => {
    await fs.rename("tree/copy", "tree/moved");
    assert.deepEqual([await fs.exists("tree/copy"), await fs.exists("tree/moved")], [false, true]);
  });
  await one("unlink", async () => {
    await fs.unlink("tree/moved");
    assert.equal(await fs.exists("tree/moved"), false);
  });
  await one("mkdtemp", async () => {
    const path = await fs.mkdtemp("/tmp/made-");
    assert.match(path, /^\/tmp\/made-\w+$/);
    assert.ok((await fs.stat(path)).isDirectory());
  });
  await one("rmdir", async () => {
    await failing(fs.rmdir("tree"), "ENOTEMPTY");
    await fs.mkdir("tree/empty");
    await fs.rmdir("tree/empty");
  });
  await one("rm", async () => {
    await fs.rm("tree", { recursive: true });
    assert.equal(await fs.exists("tree"), false);
    await fs.rm("absent", { force: true });
  });
}
