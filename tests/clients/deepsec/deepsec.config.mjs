// What deepsec is told of the project: an agent that asks a model about each file, as those that it brings do,
// and no more than that.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

const { ANTHROPIC_UPSTREAM_BASE_URL: model, ANTHROPIC_AUTH_TOKEN: key } = process.env;

const agent = {
  type: "asking",
  async *investigate({ batch, projectRoot }) {
    const began = Date.now();
    const results = [];
    for (const { filePath } of batch) {
      yield { type: "thinking", message: `asking about ${filePath}` };
      const source = await readFile(join(projectRoot, filePath), "utf8");
      const reply = await fetch(`${model}/v1/messages`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        body: JSON.stringify({ filePath, source, key }),
      });
      if (!reply.ok) throw new Error(`the model answered ${reply.status}`);
      results.push({ filePath, findings: await reply.json() });
    }
    const usage = { inputTokens: 1, outputTokens: 1, cacheReadInputTokens: 0, cacheCreationInputTokens: 0 };
    return { results, meta: { durationMs: Date.now() - began, usage } };
  },
  async *revalidate() {
    throw new Error("nothing is revalidated here");
  },
};

export default {
  projects: [{ id: "planted", root: "./target" }],
  plugins: [{ name: "asking", agents: [agent] }],
};
