"""What the whole suite has in common."""

from __future__ import annotations

import pytest

from tests import sanic_adapter

sanic_adapter.install()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the tables that tests left behind with `record_property("table", …)`, whichever worker ran them."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, table in report.user_properties:
            if name == "table" and report.when == "call":
                terminalreporter.section(report.nodeid, sep="-")
                terminalreporter.write_line(str(table))
