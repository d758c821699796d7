// The older TypeScript SDK, which most hosts in the field still carry: it validates structured
// content against the output schema even on errors, so a failure that carries any would throw.
// Reads a JSON plan from standard input: {url, successes: {tool: arguments}, failures: {...}}.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const plan = JSON.parse(readFileSync(0, "utf8"));
const client = new Client({ name: "typescript-sdk-v1", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(plan.url)));

const { tools } = await client.listTools();
assert.deepEqual(tools.map((tool) => tool.name).sort(), Object.keys(plan.successes).sort());
for (const [name, args] of Object.entries(plan.successes)) {
  const result = await client.callTool({ name, arguments: args });
  assert.ok(!result.isError, `${name}: ${JSON.stringify(result)}`);
  assert.equal(typeof result.structuredContent, "object", name);
}
for (const [name, args] of Object.entries(plan.failures)) {
  const result = await client.callTool({ name, arguments: args });
  assert.equal(result.isError, true, name);
  assert.equal(typeof result._meta["ccxt-mcp/failure"].code, "string", name);
}
await client.transport.terminateSession();
await client.close();
console.log(JSON.stringify({ tools: tools.length, calls: 2 * tools.length }));
