// What works, one line for each public member of a client: `ok Sandbox.create`, or
// `no Sandbox.create: 400 bad_request`. What the client has and no step names is said too.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const STEP_MS = 90_000;
const done = new Map();

/** A failure in words that are the same in every run; the whole goes to stderr. */
function words(error) {
  const status = error.response?.status;
  if (status) return `${status} ${error.json?.error?.code ?? ""}`.trim();
  if (error instanceof assert.AssertionError) return "not the result that it should be";
  if (error instanceof TypeError && error.message.includes("undefined")) return "what it needs failed";
  return `${error.name}: ${error.message.split("\n")[0]}`.replace(/\w*\d\w{3,}/g, "…").slice(0, 90);
}

/** Does what proves some members: all of them, or none. */
export async function proves(members, work) {
  const began = performance.now();
  let verdict = "ok";
  let result;
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("took too long")), STEP_MS);
  });
  try {
    result = await Promise.race([work(), late]);
  } catch (error) {
    verdict = words(error);
    console.error(members, error);
  }
  clearTimeout(timer);
  const names = [members].flat();
  for (const name of names) if (!done.has(name) || verdict !== "ok") done.set(name, verdict);
  console.error(`${Math.round(performance.now() - began)} ms: ${names.join(" ")}: ${verdict}`);
  return result;
}

/** Proves fields by what each has to fulfil. */
export function fields(type, object, checks) {
  const each = ([name, check]) => proves(`${type}.${name}`, async () => {
    const value = object[name];
    assert.ok(check(value), `${type}.${name} is ${value}`);
  });
  return Promise.all(Object.entries(checks).map(each));
}

/** The members that a package's typings make public. */
function published(folder) {
  const members = new Set();
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".d.ts"))) {
    let type;
    for (const line of readFileSync(join(folder, file), "utf8").split("\n")) {
      type = /^declare class (\w+)/.exec(line)?.[1] ?? (line.startsWith("}") ? undefined : type);
      const name = /^  (?:static )?(?:readonly |get )?\[?(\w+)\]?(?=[(<:;?])/.exec(line)?.[1];
      if (!type || !name || name === "constructor" || name.startsWith("_")) continue;
      if (!type.endsWith("Error")) members.add(`${type}.${name}`);
    }
  }
  return members;
}

export function report(folder) {
  const members = published(folder);
  assert.ok(members.has("Sandbox.create"), "the typings are not read");
  tell(members);
}

/** What was proved of these members. */
export function tell(members) {
  for (const name of done.keys()) assert.ok(members.has(name), `the client has no ${name}`);
  for (const name of [...members].sort()) {
    const verdict = done.get(name) ?? "no step proves it";
    console.log(verdict === "ok" ? `ok ${name}` : `no ${name}: ${verdict}`);
  }
}

/** What an API error has to be. */
export const refused = (status, code) => (error) => {
  assert.deepEqual([error.response?.status, error.json?.error?.code], [status, code], `${error}`);
  return true;
};

export const is = {
  text: (value) => typeof value === "string" && value !== "",
  count: (value) => Number.isInteger(value) && 0 <= value,
  some: (value) => Number.isInteger(value) && 0 < value,
  date: (value) => value instanceof Date && Math.abs(value - Date.now()) < 3_600_000,
  list: (value) => Array.isArray(value),
  absent: (value) => value === undefined,
  flag: (value) => typeof value === "boolean",
  exactly: (wanted) => (value) => value === wanted,
};
