"""`/sandbox/…`: what the sandbox was asked, and how it is told to misbehave. For the masters' tokens alone.

GET /sandbox/requests             counts by cause, verb and resource
DELETE /sandbox/requests          start counting anew
POST /sandbox/faults/WHAT?…       drop-watches (resource, abrupt), compact, pause, resume, down, up,
                                  fail (code, times, resource, verb), break-group and mend-group (group)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sanic import Request

from sandbox.access import MASTERS

if TYPE_CHECKING:
    from sandbox.app import Sandbox

Answer = tuple[int, dict[str, Any]]


def answer(sandbox: Sandbox, request: Request) -> Answer:
    """Status code and body."""
    person = sandbox.cluster.access.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
    if person is None or MASTERS not in person.groups:
        return 403, {"error": f"/sandbox is for members of {MASTERS}"}
    parts = request.path.strip("/").split("/")[1:]
    match request.method, parts:
        case "GET", ["requests"]:
            return 200, {"requests": sandbox.ledger.rows()}
        case "DELETE", ["requests"]:
            sandbox.ledger.clear()
            return 200, {}
        case "POST", ["faults", what]:
            return _fault(sandbox, what, request)
    return 404, {"error": f"there is no {request.method} {request.path}"}


def _fault(sandbox: Sandbox, what: str, request: Request) -> Answer:
    faults = sandbox.faults

    def given(name: str, default: str = "") -> str:
        return str(request.args.get(name, default))

    match what:
        case "drop-watches":
            faults.drop_watches(given("resource"), abrupt=given("abrupt") == "true")
        case "compact":
            faults.compact()
        case "pause":
            faults.pause()
        case "resume":
            faults.resume()
        case "down":
            faults.go_down()
        case "up":
            faults.come_up()
        case "fail":
            faults.fail(
                int(given("code", "500")), int(given("times", "1")), resource=given("resource"), verb=given("verb")
            )
        case "break-group":
            faults.broken_groups.add(given("group"))
        case "mend-group":
            faults.broken_groups.discard(given("group"))
        case _:
            return 404, {"error": f"there is no fault {what!r}"}
    return 200, {}
