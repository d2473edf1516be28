"""The `larder` command: one program for every part, and for all of them together on one machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from informers.settings import InformerSettings
from larder.options import CONFIG, OptionError, add_options, load, nearest, refuse_unknown
from larder.up_settings import UpSettings
from sandbox.settings import SandboxSettings
from server.settings import ServerSettings

COMMANDS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "up": (UpSettings, "run everything on this machine"),
    "informer": (InformerSettings, "stream a cluster's objects into Redis"),
    "server": (ServerSettings, "answer reads from Redis, forward everything else"),
    "sandbox": (SandboxSettings, "a small API server in memory, to try larder with"),
}
"""Each command's settings, and what it does in one line."""

DESCRIPTIONS = {
    "up": """Runs Redis, an informer and the replicas on this machine, and stops them at Ctrl-C. With --kubeconfig in
        front of that cluster; without one in front of a sandbox with some tenants in it. Prints kubeconfigs to use.""",
    "informer": """Lists and watches the covered resources of one cluster, once each, and keeps them in Redis. Several
        informers share the resources and take over from each other.""",
    "server": """One replica: answers lists, Tables, gets and watches from the store that the informers fill; what is
        not covered goes to the API server as the user. Run as many as you like behind any load balancer.""",
    "sandbox": """An in-memory Kubernetes API with a believable company in it, for kubectl, tests and demonstrations.
        Nothing in it is real and nothing is kept.""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 ended as asked, 1 a part could not run (the message says why), 2 unusable options."""
    parser = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 2
    if unknown:
        return _refuse(arguments.command, unknown[0])
    structs = {name: entry[0] for name, entry in COMMANDS.items()}
    config = arguments.config or os.environ.get(CONFIG)
    path = Path(config) if config else None
    try:
        refuse_unknown(os.environ, path, structs)
        settings = load(
            structs[arguments.command], arguments.command, arguments=arguments, environment=os.environ, config=path
        )
    except OptionError as error:
        print(f"larder: {error}", file=sys.stderr)
        return 2
    return _run(arguments.command, settings)


def _refuse(command: str, option: str) -> int:
    fields = msgspec.structs.fields(COMMANDS[command][0])
    hint = nearest(option.partition("=")[0], [f"--{field.name.replace('_', '-')}" for field in fields])
    print(f"larder {command}: there is no option {option}{hint or '.'} See `larder {command} --help`", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="larder",
        description="Kubernetes reads served from a shared, warm store.",
        epilog="Every option can also be a variable (--redis-url: LARDER_REDIS_URL) or a key of a YAML file given with "
        "--config, under the command's name. Options win over variables, variables over the file.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"larder {version('larder')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (struct, summary) in COMMANDS.items():
        description = " ".join(DESCRIPTIONS[name].split())
        command = commands.add_parser(name, help=summary, description=description, allow_abbrev=False)
        command.add_argument("--config", metavar="FILE", help=f"YAML file with settings (variable: {CONFIG})")
        add_options(command, struct)
    return parser


def _run(command: str, settings: msgspec.Struct) -> int:
    from larder.problems import advice

    try:
        match settings:
            case InformerSettings():
                from informers.worker import run
                from kube import logs

                logs.configure()
                return _until_signalled(run(settings))
            case ServerSettings():
                from server.app import serve

                serve(settings)
            case SandboxSettings():
                from sandbox.server import serve as serve_sandbox

                serve_sandbox(settings)
            case UpSettings():
                from larder.up import up

                return asyncio.run(up(settings))
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        text = advice(error)
        if text is None:
            raise
        print(f"larder {command}: {text}", file=sys.stderr)
        return 1
    return 0


def _until_signalled(program: Coroutine[object, object, None]) -> int:
    """Run until it ends or SIGTERM or SIGINT asks it to: both cancel it, and it ends cleanly."""

    async def guarded() -> None:
        task = asyncio.ensure_future(program)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    import uvloop

    uvloop.run(guarded())
    return 0


if __name__ == "__main__":
    sys.exit(main())
