// The newer TypeScript SDK, which speaks both eras, and through MCP Inspector and others drives ever
// more hosts. Reads a JSON plan from standard input: {url, mode, successes: {tool: arguments},
// failures: {...}}.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const plan = JSON.parse(readFileSync(0, "utf8"));
const client = new Client(
  { name: "typescript-sdk-v2", version: "1.0.0" },
  { versionNegotiation: { mode: plan.mode } },
);
const transport = new StreamableHTTPClientTransport(new URL(plan.url));
await client.connect(transport);

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
const { resources } = await client.listResources();
const { contents } = await client.readResource({ uri: resources[0].uri });
const { prompts } = await client.listPrompts();
console.log(
  JSON.stringify({
    version: client.getNegotiatedProtocolVersion(),
    tools: tools.length,
    calls: 2 * tools.length,
    contents: contents.length,
    prompts: prompts.length > 0,
    session: transport.sessionId !== undefined,
  }),
);
if (transport.sessionId !== undefined) await transport.terminateSession();
await client.close();
