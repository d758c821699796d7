// The newer TypeScript SDK, whose connections are cut under it: it is to resume by itself. Reads a
// JSON plan from standard input: {url, call: {name, arguments}}; prints a line for each event.
import { readFileSync } from "node:fs";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const plan = JSON.parse(readFileSync(0, "utf8"));
const client = new Client({ name: "typescript-sdk-v2", version: "1.0.0" });
const transport = new StreamableHTTPClientTransport(new URL(plan.url));
await client.connect(transport);
const say = (line) => console.log(JSON.stringify(line));
const result = await client.callTool(plan.call, {
  onprogress: ({ progress }) => say({ progress }),
  onresumptiontoken: (id) => say({ id }),
  timeout: 60_000,
});
say({ isError: result.isError ?? false });
await transport.terminateSession();
await client.close();
