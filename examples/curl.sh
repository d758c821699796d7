#!/usr/bin/env bash
# Two workflows at the same time, each in a session of its own: neither waits for the other.
# A session opens on the first use of its name; no handshake is needed.
#
#   CCXT_MCP_URL    the server (http://127.0.0.1:3000)
#   CCXT_MCP_TOKEN  a token, where the server has tokens
set -euo pipefail
server=${CCXT_MCP_URL:-http://127.0.0.1:3000}
answers=$(mktemp -d)
trap 'rm -rf "$answers"' EXIT

authorization() { # by a file, since arguments can be seen by everybody on this machine
  if [ -n "${CCXT_MCP_TOKEN:-}" ]; then printf 'Authorization: Bearer %s\n' "$CCXT_MCP_TOKEN"; fi
}

call() { # SESSION TOOL [ARGUMENTS]
  curl -sS --fail-with-body --max-time 90 "$server/mcp" \
    -H 'Content-Type: application/json' -H "Mcp-Session-Id: $1" -H @<(authorization) \
    -d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"$2\",\"arguments\":${3:-{\}}}}"
}

call workflow-orders-monitoring get_open_orders >"$answers/orders" &
orders=$!
call workflow-balance-monitoring account_balance >"$answers/balance" &
balance=$!

failed=0
wait "$orders" || failed=1
wait "$balance" || failed=1
for name in orders balance; do
  echo "$name: $(cat "$answers/$name")"
  # A tool's failure is an answer too; an error without a result is one of the request itself.
  if grep -qE '"isError":true|"error":\{' "$answers/$name"; then failed=1; fi
done
exit "$failed"
