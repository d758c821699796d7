"""Two LangGraph agents in parallel over LangChain's own MCP adapter, a session each.

    pip install -r examples/langgraph/requirements.txt
    CCXT_MCP_URL=http://127.0.0.1:3000 python examples/langgraph/agent.py

The model here is a script, so that this runs without a key and always alike; put a chat model with
`bind_tools(tools)` in its place.
"""

import asyncio
import os
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

URL = os.environ.get("CCXT_MCP_URL", "http://127.0.0.1:3000")
TOKEN = os.environ.get("CCXT_MCP_TOKEN")


def scripted(*steps: tuple[str, dict[str, Any]]) -> GenericFakeChatModel:
    """A model that calls these tools, one a turn, and then says that it is done."""
    asked = [
        AIMessage(content="", tool_calls=[{"name": tool, "args": args, "id": f"call-{number}"}])
        for number, (tool, args) in enumerate(steps)
    ]
    return GenericFakeChatModel(messages=iter([*asked, AIMessage(content="done")]))


async def agent(name: str, model: GenericFakeChatModel, question: str) -> list[Any]:
    """Run one agent to its end; its messages."""
    connection: Any = {"transport": "streamable_http", "url": f"{URL}/mcp"}
    if TOKEN is not None:
        connection["headers"] = {"Authorization": f"Bearer {TOKEN}"}
    # `session` keeps one MCP session for the agent's whole run; without it each call opens its own.
    async with MultiServerMCPClient({"ccxt": connection}).session("ccxt") as session:
        tools = await load_mcp_tools(session)
        print(f"{name}: {len(tools)} tools")

        async def think(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("model", think)
        # A tool's failure goes back to the model, which can follow its hint.
        graph.add_node("tools", ToolNode(tools, handle_tool_errors=True))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        state = await graph.compile().ainvoke({"messages": [("user", question)]})
        return list(state["messages"])


async def main() -> None:
    prices, holdings = await asyncio.gather(
        agent(
            "prices",
            scripted(
                ("get_ticker", {"symbol": "BTC/USDT"}),
                ("get_ticker", {"symbol": "NO/SUCH"}),
            ),
            "What is Bitcoin worth?",
        ),
        agent("holdings", scripted(("account_balance", {})), "What do I own?"),
    )
    for name, messages in (("prices", prices), ("holdings", holdings)):
        for message in messages:
            if isinstance(message, ToolMessage):
                print(f"{name}: {message.name}: {message.status}: {str(message.content)[:160]}")


if __name__ == "__main__":
    asyncio.run(main())
