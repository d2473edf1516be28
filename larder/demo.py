"""`make demo`: two tenants use kubectl through a load balancer, and nothing of it reaches upstream but their writes.

It tells its story, checks each thing that it promises, and ends with 1 if one of them did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import re
import signal
import ssl
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from larder.problems import advice
from larder.tenant_view import CommandFailed, Kubectl, Tables, Tenant, find_kubectl
from larder.up import NotReady, Stack
from larder.up_settings import UpSettings

OWN = {
    "alice": {"storefront-prod", "storefront-staging", "storefront-preview"},
    "bob": {"payments-prod", "payments-staging"},
}
"""The namespaces of the two tenants who show us around, as the sandbox's company has them."""

PLACE, POD = "storefront-staging", "demo-pod"
SHOWN_LINES = 14
WATCH_SECONDS = 20.0
INFORMER = "larder-informer"
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
"""Listed twice: discovery wants their columns."""

WHO = {"client": "tenants", INFORMER: "informer", "larder-server": "replicas"}
WHAT = {"": "{verb} of {resources}", "Table": "a Table of {resources}", "version": "newest version of {resources}"}
"""The informer's reads, by the form of the answer."""

WHY = {
    "client": "writes, forwarded as theirs",
    INFORMER: "which cluster this is",
    (INFORMER, "documents", ""): "discovery, kept for kubectl",
    (INFORMER, "list", ""): "every object, once",
    (INFORMER, "list", "Table"): "to compare our rows with",
    (INFORMER, "list", "version"): "how current the store is",
    (INFORMER, "watch", ""): "every change, once",
    "larder-server": "whose a token is",
}
"""Why a cause asks, in general and for certain verbs and forms."""

_READS = {"get", "list", "watch"}
_NOT_COVERED = ("secrets", "leases.coordination.k8s.io", "events.events.k8s.io")


class Story:
    """What is told and what was found: `failures` are the promises that did not hold."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failures: list[str] = []

    def chapter(self, text: str) -> None:
        """A heading."""
        self.console.print(f"\n[bold cyan]── {text}[/]", highlight=False)

    def command(self, tenant: Tenant, arguments: str, output: str) -> None:
        """What somebody typed, and the beginning of what they saw."""
        self.console.print(f"[bold green]{tenant.user}$[/] {tenant.said(arguments)}", highlight=False)
        lines = output.splitlines()
        self.console.print("\n".join(lines[:SHOWN_LINES]), markup=False, highlight=False)
        if len(lines) > SHOWN_LINES:
            self.console.print(f"[dim]… {len(lines) - SHOWN_LINES} more lines[/]", highlight=False)

    def promise(self, held: bool, text: str, found: object = "") -> None:
        """Say whether a promise held."""
        self.console.print(f"  [green]✓[/] {text}" if held else f"  [red]✗ {text}[/] {found}", highlight=False)
        if not held:
            self.failures.append(text)


async def demo(console: Console, *, kubectl: str | None, haproxy: bool = True) -> int:
    """Exit code 0: everything that is promised held. Without `kubectl` (its path) the Tables themselves are shown."""
    story = Story(console)
    console.print(
        "[bold]larder[/]: kubectl answered from a shared store. All of this runs on this machine, and ends with it."
    )
    async with AsyncExitStack() as exits:
        story.chapter("Starting: a sandbox API server, Redis, an informer, two replicas, a load balancer")
        settings = UpSettings(replicas=2, haproxy=haproxy)
        say = functools.partial(console.print, style="dim", highlight=False)
        stack = await exits.enter_async_context(Stack(settings, lambda text: say(f"  {text}")))
        proxied = "haproxy" in stack.parts
        front = "HAProxy before two replicas" if proxied else "the first replica itself, without HAProxy"
        console.print(f"  larder is at {stack.url}: {front}", highlight=False)
        cache = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="larder-demo-")))
        alice, bob = (tenant(user, stack, kubectl, cache) for user in OWN)
        for one in (alice, bob):
            await look_around(story, one)
        await watch_changes(story, alice, bob)
        show_requests(story, upstream_requests(stack), sum(reads_answered(health) for health in stack.health))
    if story.failures:
        console.print(f"\n[bold red]{len(story.failures)} promises did not hold:[/] {'; '.join(story.failures)}")
        return 1
    console.print("\n[bold green]Everything held.[/] `larder up` leaves it running for you: .venv/bin/larder up")
    return 0


def tenant(user: str, stack: Stack, kubectl: str | None, cache: Path) -> Tenant:
    """Somebody with kubectl, or without."""
    kubeconfig = stack.kubeconfigs[user]
    return Tables(user, kubeconfig) if kubectl is None else Kubectl(user, kubeconfig, kubectl, cache / user)


async def look_around(story: Story, one: Tenant) -> None:
    """A tenant's reads: their namespaces, and the union of what is in them."""
    own = OWN[one.user]
    story.chapter(f"{one.user}, who owns {len(own)} namespaces and has no right to list across the cluster")
    text = await one.get("namespaces")
    story.command(one, "get namespaces", text)
    found = set(first_words(text))
    story.promise(found == own, "exactly their own namespaces", found)
    text = await one.get("pods")
    story.command(one, "get pods -A", text)
    story.promise(set(first_words(text)) == own, "pods of all their namespaces, and of no other", text)
    text = await one.get("pods", wide=True)
    story.command(one, "get pods -A -o wide", text)
    story.promise("NODE" in text.splitlines()[0], "wide columns", text[:200])
    text = await one.get("pods", labels="tier=frontend")
    story.command(one, "get pods -A -l tier=frontend", text)
    names = [line.split()[1] for line in text.splitlines()[1:]]
    chosen = bool(names) and all(name.startswith(("web-", "gateway-")) for name in names)
    story.promise(chosen, "what the label selects, and nothing else", names)
    place = text.splitlines()[1].split()[0]
    text = await one.get_yaml("pods", place, names[0])
    story.command(one, f"get pods {names[0]} -n {place} -o yaml", text)
    obj = yaml.safe_load(text)
    story.promise((obj["kind"], obj["metadata"]["name"]) == ("Pod", names[0]), "the whole object", obj.get("kind"))
    other = min(OWN["bob" if one.user == "alice" else "alice"])
    try:
        refused = f"it was answered: {await one.get('pods', namespace=other)}"
    except CommandFailed as error:
        refused = str(error)
    story.command(one, f"get pods -n {other}", refused)
    story.promise("is forbidden" in refused, "another tenant's namespace is forbidden", refused)


async def watch_changes(story: Story, alice: Tenant, bob: Tenant) -> None:
    """A watch across a create, a label change and a delete; the other tenant's watch stays silent."""
    story.chapter("Both watch while alice creates, labels and deletes a pod (her writes go to upstream as hers)")
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "namespace": PLACE, "labels": {"step": "one"}},
        "spec": {"containers": [{"name": "main", "image": "registry.harbourpine.example/demo:1"}]},
    }  # fmt: skip
    async with alice.watch("pods") as hers, bob.watch("pods") as his:
        seen: list[str] = []
        his_seen: list[str] = []
        tasks = [asyncio.create_task(collect(hers, seen)), asyncio.create_task(collect(his, his_seen))]
        await asyncio.sleep(1.5)  # both watches are open by then; what comes before is not missed, only not shown
        story.command(alice, f"create -f pod.yaml -n {PLACE}", await alice.create(pod))
        text = await alice.get("pods", namespace=PLACE)
        story.promise(POD in text, "she reads her own write at once, on whichever replica", text)
        story.command(alice, f"label pods {POD} step=two", await alice.label("pods", PLACE, POD, "step=two"))
        await until(lambda: any(mentions(line, "MODIFIED") for line in seen))
        story.command(alice, f"delete pods {POD}", await alice.delete("pods", PLACE, POD))
        await until(lambda: any(mentions(line, "DELETED") for line in seen))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    mine = [line for line in seen if f" {POD} " in line]
    story.command(alice, "get pods -A -w --output-watch-events", "\n".join(mine))
    kinds = [line.split()[0] for line in mine]
    in_order = bool(kinds) and kinds[0] == "ADDED" and kinds[-1] == "DELETED" and "MODIFIED" in kinds[1:-1]
    story.promise(
        in_order and kinds.count("ADDED") == 1, "ADDED, MODIFIED, DELETED in this order, once each way", kinds
    )
    foreign = [line for line in his_seen if len(line.split()) < 2 or line.split()[1] not in OWN["bob"]]
    story.promise(not foreign, "bob's watch of all his pods says nothing of it", foreign)


def show_requests(story: Story, rows: list[dict[str, Any]], answered: int) -> None:
    """What upstream saw since the sandbox began, by kind and by cause; `answered`: reads answered from the store."""
    story.chapter("What upstream was asked, from the beginning to now")
    table = Table("cause", "what", "requests", "why", box=None, header_style="bold")
    table.columns[2].justify = "right"
    for cause, what, count, why in summed(rows):
        table.add_row(cause, what, str(count), f"[dim]{why}[/]")
    story.console.print(table)
    strangers = [
        row
        for row in rows
        if row["cause"] != INFORMER and row["verb"] in _READS
        and not str(row["resource"]).startswith("/") and row["resource"] not in _NOT_COVERED
    ]  # fmt: skip
    story.promise(
        not strangers and answered > 0,
        f"{answered} reads and watches of the two tenants came from the store, and not one went to upstream",
        strangers,
    )
    once = {verb: objects_asked_for(rows, verb) for verb in ("list", "watch")}
    watched = set(once["watch"])
    story.promise({"pods", "namespaces"} <= watched, f"the informer follows {len(watched)} resources", watched)
    often = [(resource, count) for counts in once.values() for resource, count in counts.items() if count > 1]
    story.promise(
        {resource for resource, _ in often} <= {DEFINITIONS}, "with one list and one watch each, whoever reads", often
    )


def objects_asked_for(rows: Iterable[dict[str, Any]], verb: str) -> dict[str, int]:
    """How often the informer asked for the objects of each resource."""
    return {
        row["resource"]: row["requests"]
        for row in rows
        if (row["cause"], row["verb"], row["form"]) == (INFORMER, verb, "") and not row["resource"].startswith("/")
    }


def summed(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str, int, str]]:
    """Cause, what, number and reason: the informer's reads by verb and form, all others by verb and resource."""
    sums: dict[tuple[str, str, str], int] = {}
    resources: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        cause, verb, resource = str(row["cause"]), str(row["verb"]), str(row["resource"])
        if resource.startswith("/"):
            key = (cause, "documents", "")
        else:
            key = (cause, verb, str(row["form"]) if cause == INFORMER else resource)
        sums[key] = sums.get(key, 0) + int(row["requests"])
        resources.setdefault(key, set()).add(resource)
    told = []
    for key, count in sorted(sums.items()):
        cause, verb, rest = key
        if cause == INFORMER and verb in _READS:
            number = len(resources[key])
            what = WHAT[rest].format(verb=verb, resources=f"{number} resource{'s' * (number > 1)}")
        else:
            what = f"{verb} {rest.partition('.')[0]}".rstrip()
        told.append((WHO[cause], what, count, WHY.get(key, WHY[cause])))
    return told


def reads_answered(health: str) -> int:
    """What a replica has answered from the store, by its own count."""
    with urllib.request.urlopen(f"http://{health}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    counted = re.findall(r'^larder_requests_total{(.*verb="(?:get|list|watch)".*)} (\S+)$', text, re.MULTILINE)
    return sum(
        int(float(count))
        for labels, count in counted
        if 'source="cache"' in labels and 'resource="other"' not in labels
    )


def upstream_requests(stack: Stack) -> list[dict[str, Any]]:
    """The sandbox's ledger."""
    folder = stack.directory / "sandbox"
    config = yaml.safe_load((folder / "admin.kubeconfig").read_text())
    request = urllib.request.Request(  # noqa: S310 (the sandbox's own address)
        f"{config['clusters'][0]['cluster']['server']}/sandbox/requests",
        headers={"Authorization": f"Bearer {config['users'][0]['user']['token']}"},
    )
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    with urllib.request.urlopen(request, timeout=10, context=tls) as answer:  # noqa: S310 (as above)
        rows: list[dict[str, Any]] = json.load(answer)["requests"]
    return rows


def first_words(text: str) -> list[str]:
    """The first column without its heading."""
    return [line.split()[0] for line in text.splitlines()[1:] if line]


def mentions(line: str, event: str) -> bool:
    """Whether a watch's line is of the demonstration's pod."""
    return line.startswith(event) and f" {POD} " in line


async def collect(lines: AsyncIterator[str], into: list[str]) -> None:
    """Keep every line."""
    async for line in lines:
        into.append(f"{line} ")  # noqa: PERF401 (each as it comes: others look at them meanwhile)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for it, but not for ever: what did not happen is found by the promise that follows."""
    try:
        async with asyncio.timeout(WATCH_SECONDS):
            while not happened():  # noqa: ASYNC110 (lines come from another process)
                await asyncio.sleep(0.05)
    except TimeoutError:
        return


def main() -> int:
    """Run the demonstration; Ctrl-C ends it, and everything it has started."""
    parser = argparse.ArgumentParser(
        prog="python -m larder.demo", description="Two tenants use kubectl through larder."
    )
    parser.add_argument("--tables", action="store_true", help="as where kubectl is not installed")
    parser.add_argument("--no-haproxy", action="store_true", help="as where HAProxy is not installed")
    options = parser.parse_args()
    # What kubectl prints is as wide as it is: a terminal breaks it where it likes, as it does kubectl's own.
    console = Console(soft_wrap=True)

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await demo(console, kubectl=None if options.tables else find_kubectl(), haproxy=not options.no_haproxy)

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        console.print("[dim]stopped[/]")
        return 130
    except NotReady as error:
        console.print(f"[red]{error}[/]")
    except CommandFailed as error:
        console.print(f"[red]a command failed:[/] {error}")
    except Exception as error:
        if (text := advice(error)) is None:
            raise
        console.print(f"[red]{text}[/]")
    return 1


if __name__ == "__main__":
    sys.exit(main())
