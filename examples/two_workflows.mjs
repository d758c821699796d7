// Two workflows at the same time with Node's own fetch (Node 20 or newer, no dependency).
// Each has a session of its own: parallel workflows = different session ids.
//
//   CCXT_MCP_URL    the server (http://127.0.0.1:3000)
//   CCXT_MCP_TOKEN  a token, where the server has tokens
import { randomUUID } from "node:crypto";

const server = process.env.CCXT_MCP_URL ?? "http://127.0.0.1:3000";
const token = process.env.CCXT_MCP_TOKEN;

class Workflow {
  #calls = 0;

  constructor(name) {
    this.sessionId = `wf-${name}-${randomUUID().slice(0, 8)}`;
  }

  // The tool's structured result. Calls of one workflow run one after the other.
  async call(tool, args = {}) {
    const response = await fetch(`${server}/mcp`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "Mcp-Session-Id": this.sessionId,
        ...(token && { Authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({
        jsonrpc: "2.0",
        id: ++this.#calls,
        method: "tools/call",
        params: { name: tool, arguments: args },
      }),
      // Above the server's own 15 s for a call and 60 s in its session's line.
      signal: AbortSignal.timeout(90_000),
    });
    const { result, error } = await response.json();
    if (error) throw new Error(`${tool}: ${error.message}`);
    if (result.isError) {
      const failure = result._meta["ccxt-mcp/failure"];
      throw Object.assign(new Error(`${tool}: ${result.content[0].text}`), failure);
    }
    return result.structuredContent;
  }

  // A session ends by itself when it is not used; this makes room at once.
  async end() {
    await fetch(`${server}/mcp`, {
      method: "DELETE",
      headers: { "Mcp-Session-Id": this.sessionId, ...(token && { Authorization: `Bearer ${token}` }) },
    });
  }
}

const orders = new Workflow("orders");
const balance = new Workflow("balance");
try {
  const [open, owned] = await Promise.all([orders.call("get_open_orders"), balance.call("account_balance")]);
  console.log(`open orders: ${open.orders.length}`);
  for (const each of owned.balances) console.log(`${each.currency}: ${each.total}`);
  // `retryable` says whether the same call may succeed later.
  await orders.call("get_ticker", { symbol: "NO/SUCH" }).catch((failure) => {
    console.log(`as expected: ${failure.code}, retryable: ${failure.retryable}`);
  });
} finally {
  await Promise.all([orders.end(), balance.end()]);
}
