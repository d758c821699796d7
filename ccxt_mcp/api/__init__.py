"""The tools by plain HTTP, with an OpenAPI document. Knows HTTP and a narrow seam, not MCP."""
