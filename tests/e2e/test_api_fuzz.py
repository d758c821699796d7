"""Every operation of the OpenAPI document, driven from it: a short run of what `make soak` runs."""

from benchmarks.fuzz_api import fuzz_api
from ccxt_mcp.tools.server import TOOLS


def test_every_answer_fits_the_document_and_none_is_a_500() -> None:
    """Whatever the body and the headers; each tool is really reached, and its failures too."""
    report = fuzz_api(600, 3)
    assert report.wrong == ""
    answered = {tool for tool, status in report.outcomes if status == 200}
    assert answered == {tool.name for tool in TOOLS}
    assert {400, 404, 415} <= {status for _, status in report.outcomes}
