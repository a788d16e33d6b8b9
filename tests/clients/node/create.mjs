// Creates so many sandboxes, so many at once, each with a command, and tells how long each took from create to
// result: one line of JSON. It fails if any is lost.

import assert from "node:assert/strict";
import { Sandbox } from "@vercel/sandbox";

const [count, atOnce] = process.argv.slice(2).map(Number);
const times = [];
let next = 0;

async function one() {
  const word = `result-${next++}`;
  const began = performance.now();
  const sandbox = await Sandbox.create({ persistent: false, timeout: 600_000, resources: { vcpus: 1, memory: 1024 } });
  const ran = await sandbox.runCommand("echo", [word]);
  const said = await ran.stdout();
  times.push(performance.now() - began);
  assert.equal(said, `${word}\n`);
  return sandbox;
}

const began = performance.now();
while (next < count) {
  const made = await Promise.all(Array.from({ length: Math.min(atOnce, count - next) }, one));
  if (next >= count) console.log(JSON.stringify({ times, last: performance.now() - began }));
  await Promise.all(made.map((sandbox) => sandbox.stop()));
}
