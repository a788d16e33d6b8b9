// A program that knows nothing of fumehood: who it is and where it goes is in the environment.

import { Sandbox } from "@vercel/sandbox";

const sandbox = await Sandbox.create({ persistent: false });
const done = await sandbox.runCommand("echo", ["from JavaScript"]);
console.log((await done.stdout()).trim());
await sandbox.delete();
