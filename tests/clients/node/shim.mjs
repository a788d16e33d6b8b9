// Preloaded with `node --import`: what a client sends to Vercel's API goes to $FUMEHOOD_SERVER.

const server = process.env.FUMEHOOD_SERVER;
if (!server) throw new Error("FUMEHOOD_SERVER is not set: it names the server, http://HOST:PORT");

const VERCEL = "https://vercel.com/api/";
const original = globalThis.fetch;

globalThis.fetch = (input, init) => {
  const url = input instanceof Request ? input.url : String(input);
  if (!url.startsWith(VERCEL)) return original(input, init);
  const ours = new URL(`api/${url.slice(VERCEL.length)}`, server);
  return original(input instanceof Request ? new Request(ours, input) : ours, init);
};
