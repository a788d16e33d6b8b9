// The world as the test's sandboxes see it: a proxy as companies have them, behind which the name `model.test`
// leads to a model that answers only whoever brings its key, and every other name where it leads.
// world.mjs FOLDER: says in FOLDER/world.json where it is, and ends with its standard input.

import { execFileSync } from "node:child_process";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer as createProxy } from "node:http";
import { createServer as createModel } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";

const [, , folder] = process.argv;
const { MODEL_KEY, MODEL_PLACEHOLDER } = process.env;
const [authority, authorityKey, certificate, privateKey] = ["ca.pem", "ca.key", "model.pem", "model.key"].map((name) =>
  join(folder, name),
);
const signed = (subject, extensions, more) => execFileSync("openssl", [
  ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj".split(" "), `/CN=${subject}`,
  ...extensions.flatMap((extension) => ["-addext", extension]), ...more,
], { stdio: "ignore" });
signed("a company", ["basicConstraints=critical,CA:TRUE"], ["-keyout", authorityKey, "-out", authority]);
signed("model.test", ["subjectAltName=DNS:model.test", "basicConstraints=critical,CA:FALSE"],
  ["-CA", authority, "-CAkey", authorityKey, "-keyout", privateKey, "-out", certificate]);

const asked = [];
const tell = () => writeFileSync(join(folder, "asked.json"), JSON.stringify(asked));
tell();

const planted = [
  [/"SELECT [^]*" \+ request/, "sql-injection", "A name of the request's gets into a query"],
  [/exec\(`/, "rce", "A host of the request's gets into a shell"],
  [/eval\(request/, "rce", "An expression of the request's is carried out"],
];

const model = createModel({ key: readFileSync(privateKey), cert: readFileSync(certificate) }, async (request, reply) => {
  let body = "";
  for await (const piece of request) body += piece;
  const { filePath, source, key } = JSON.parse(body);
  const hasKey = request.headers.authorization === `Bearer ${MODEL_KEY}`;
  asked.push({ filePath, hasKey, guestHasKey: key !== MODEL_PLACEHOLDER });
  tell();
  if (!hasKey) return reply.writeHead(401).end();
  const findings = planted.filter(([pattern]) => pattern.test(source)).map(([pattern, vulnSlug, title]) => ({
    severity: "HIGH",
    vulnSlug,
    title,
    description: title,
    lineNumbers: [source.slice(0, source.search(pattern)).split("\n").length],
    recommendation: "Pass it as an argument.",
    confidence: "high",
  }));
  reply.end(JSON.stringify(findings));
});

const proxy = createProxy((_, reply) => reply.writeHead(400).end());
proxy.on("connect", (request, visitor, head) => {
  const [host, port] = request.url.split(":");
  const to = host === "model.test" ? { port: model.address().port } : { host, port };
  const way = connect(to, () => {
    visitor.write("HTTP/1.1 200 OK\r\n\r\n");
    way.write(head);
    visitor.pipe(way).pipe(visitor);
  });
  way.on("error", () => visitor.destroy());
  visitor.on("error", () => way.destroy());
});

model.listen(0, "127.0.0.1", () => proxy.listen(0, "127.0.0.1", () => {
  const draft = join(folder, "draft.json");
  writeFileSync(draft, JSON.stringify({ proxy: `http://127.0.0.1:${proxy.address().port}`, authority }));
  renameSync(draft, join(folder, "world.json"));
}));
process.stdin.on("end", () => process.exit()).resume();
