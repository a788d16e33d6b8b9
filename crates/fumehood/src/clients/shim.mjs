// fumehood: what a client sends to Vercel's API goes to $FUMEHOOD_API_URL.
const api = globalThis.process?.env.FUMEHOOD_API_URL?.replace(/\/+$/, "");
const theirs = ["https://vercel.com/api/", "https://api.vercel.com/"];
const fetched = globalThis.fetch;

if (api && !fetched.fumehood) {
  const fetch = (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    const base = theirs.find((base) => url.startsWith(base));
    if (!base) return fetched(input, init);
    const ours = `${api}/${url.slice(base.length)}`;
    return fetched(input instanceof Request ? new Request(ours, input) : ours, init);
  };
  globalThis.fetch = Object.assign(fetch, fetched, { fumehood: true });
}
