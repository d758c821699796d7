// Plain fetch: a call's stream, cut after every few events by closing its socket and read on with
// Last-Event-ID, until its reply. Reads a JSON plan from standard input: {url, call, every}.
import { readFileSync } from "node:fs";

const plan = JSON.parse(readFileSync(0, "utf8"));
const headers = {
  "Content-Type": "application/json",
  Accept: "application/json, text/event-stream",
};
const post = (body) => ({ method: "POST", headers, body: JSON.stringify(body) });

const opened = await fetch(plan.url, post({
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "fetch", version: "1" },
  },
}));
await opened.json();
headers["Mcp-Session-Id"] = opened.headers.get("mcp-session-id");
headers["MCP-Protocol-Version"] = "2025-11-25";
await fetch(plan.url, post({ jsonrpc: "2.0", method: "notifications/initialized" }));

const events = [];
let connections = 0;
let last;
let replied = false;

function note(block) {
  const fields = Object.fromEntries(
    block.split("\n").filter((line) => !line.startsWith(":")).map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }),
  );
  if (fields.id === undefined) return false;
  last = fields.id;
  if (fields.data) {
    const message = JSON.parse(fields.data);
    events.push({ id: fields.id, message });
    replied ||= "result" in message || "error" in message;
  }
  return true;
}

async function read(options, most) {
  connections += 1;
  const ending = new AbortController();
  const response = await fetch(plan.url, { ...options, signal: ending.signal });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  let text = "";
  let seen = 0;
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      seen += note(text.slice(0, end));
      if (replied || seen === most) {
        ending.abort();
        return;
      }
    }
  }
}

await read(post(plan.call), plan.every);
while (!replied) {
  await read({ headers: { ...headers, "Last-Event-ID": last } }, plan.every);
}
await fetch(plan.url, { method: "DELETE", headers });
console.log(JSON.stringify({ connections, events }));
