// Node's own fetch: a reply, a body that is sent as a stream, and one that is received.
const headers = { authorization: `Bearer ${process.env.CLIENT_KEY}` };
const said = await (await fetch('https://good.test/echo', { headers })).json();
const body = new Blob(['x'.repeat(1000000)]).stream();
const posted = await fetch('https://good.test/echo', { method: 'POST', body, duplex: 'half', headers });
const sent = (await posted.json()).bytes;
const reply = await fetch('https://good.test/bytes?n=1000000', { headers });
const got = (await reply.arrayBuffer()).byteLength;
console.log(JSON.stringify({ said, sent, got }));
