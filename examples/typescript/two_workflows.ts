// Two workflows at the same time with the MCP SDK for TypeScript: a client each, so a session each.
//
//   CCXT_MCP_URL    the server (http://127.0.0.1:3000)
//   CCXT_MCP_TOKEN  a token, where the server has tokens
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const server = process.env.CCXT_MCP_URL ?? "http://127.0.0.1:3000";
const token = process.env.CCXT_MCP_TOKEN;

interface Failure {
  code: string;
  message: string;
  retryable: boolean;
}

class CallFailed extends Error {
  constructor(tool: string, readonly failure: Failure) {
    super(`${tool}: ${failure.code}: ${failure.message}`);
  }
}

/** Runs `work` with a session of its own, which ends with it. */
async function workflow<T>(
  name: string,
  work: (call: (tool: string, args?: Record<string, unknown>) => Promise<Record<string, unknown>>) => Promise<T>,
): Promise<T> {
  const client = new Client({ name, version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(new URL(`${server}/mcp`), {
    requestInit: token ? { headers: { Authorization: `Bearer ${token}` } } : {},
  });
  await client.connect(transport);
  try {
    return await work(async (tool, args = {}) => {
      const result = await client.callTool({ name: tool, arguments: args }, undefined, { timeout: 90_000 });
      if (result.isError) throw new CallFailed(tool, result._meta?.["ccxt-mcp/failure"] as unknown as Failure);
      return result.structuredContent as Record<string, unknown>;
    });
  } finally {
    await transport.terminateSession();
    await client.close();
  }
}

const [orders, balances] = await Promise.all([
  workflow("orders", async (call) => (await call("get_open_orders")).orders as unknown[]),
  workflow("balance", async (call) => (await call("account_balance")).balances as { currency: string; total: string }[]),
]);
console.log(`open orders: ${orders.length}`);
for (const { currency, total } of balances) console.log(`${currency}: ${total}`);

await workflow("mistaken", async (call) => {
  try {
    await call("get_ticker", { symbol: "NO/SUCH" });
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    console.log(`as expected: ${error.failure.code}, retryable: ${error.failure.retryable}`);
  }
});
