// Preloaded with `node --import`: what `fumehood env` gives to programs, for the server at $FUMEHOOD_SERVER.

const server = process.env.FUMEHOOD_SERVER;
if (!server) throw new Error("FUMEHOOD_SERVER is not set: it names the server, http://HOST:PORT");
process.env.FUMEHOOD_API_URL = `${server}/api`;
await import("../../../crates/fumehood/src/clients/shim.mjs");
