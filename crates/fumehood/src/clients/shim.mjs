// fumehood: what a client sends to Vercel's API goes to $FUMEHOOD_API_URL; what a program sends to
// `sandbox.domain(port)`, and a command line to a terminal's host, goes to the ingress.
const api = globalThis.process?.env.FUMEHOOD_API_URL?.replace(/\/+$/, "");
// The last is where programs that requests are forwarded to find whose signatures they believe.
const theirs = ["https://vercel.com/api/", "https://api.vercel.com/", "https://oidc.vercel.com/"];
// With the path of `new URL("/path", sandbox.domain(port))` the end that clients append is gone.
const domain = /^https:\/\/(sb-[0-9a-z]{12}\.localhost:(\d+))(?:\/_\.vercel\.run)?(.*)$/;
const fetched = globalThis.fetch;
// Where terminals are, by the host name that a command line asks after their health.
const terminals = new Map();

const send = (input, init, url, header) => {
  const request = input instanceof Request ? new Request(url, input) : url;
  if (!header) return fetched(request, init);
  const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
  headers.set(...header);
  return fetched(request, { ...init, headers });
};

if (api && !fetched.fumehood) {
  const fetch = async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    // Not every resolver knows the names under localhost, so the ingress is told which one is meant.
    const [, host, port, rest] = domain.exec(url) ?? [];
    if (host) return send(input, init, `http://localhost:${port}${rest}`, ["x-fumehood-host", host]);
    const { hostname, pathname } = URL.canParse(url) ? new URL(url) : {};
    if (pathname === "/health" && terminals.has(hostname)) return fetched(`${terminals.get(hostname)}/health`);
    const base = theirs.find((base) => url.startsWith(base));
    if (!base) return fetched(input, init);
    const reply = await send(input, init, `${api}/${url.slice(base.length)}`);
    if (reply.ok && new URL(url).pathname.endsWith("/interactive")) {
      const terminal = new URL((await reply.clone().json()).url.replace(/^ws/, "http"));
      terminals.set(terminal.hostname, terminal.origin);
    }
    return reply;
  };
  globalThis.fetch = Object.assign(fetch, fetched, { fumehood: true });
}
