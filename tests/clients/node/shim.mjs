// Preloaded with `node --import`: what a client sends to Vercel's API goes to $FUMEHOOD_SERVER, and
// what it sends to a sandbox's port, which it takes for https, goes to the plain ingress of this host.

const server = process.env.FUMEHOOD_SERVER;
if (!server) throw new Error("FUMEHOOD_SERVER is not set: it names the server, http://HOST:PORT");

const VERCEL = "https://vercel.com/api/";
const original = globalThis.fetch;

globalThis.fetch = (input, init) => {
  const url = input instanceof Request ? input.url : String(input);
  const [, host, port, path = "/"] = /^https:\/\/(sb-\w+\.localhost:(\d+))(\/.*)?$/.exec(url) ?? [];
  if (host) return original(`http://127.0.0.1:${port}${path}`, { ...init, headers: { ...init?.headers, host } });
  if (!url.startsWith(VERCEL)) return original(input, init);
  const ours = new URL(`api/${url.slice(VERCEL.length)}`, server);
  return original(input instanceof Request ? new Request(ours, input) : ours, init);
};
