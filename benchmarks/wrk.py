"""Load from wrk, with its figures as data. A request that failed is a failure of the run, never a zero."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests":%d,"microseconds":%d,"bytes":%d,"p50":%.1f,"p90":%.1f,"p99":%.1f,"max":%.1f,' ..
    '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(90),
    latency:percentile(99), latency.max, e.connect, e.read, e.write, e.status, e.timeout))
end
"""


class LoadFailed(RuntimeError):
    """Requests failed, or wrk itself did."""


class NothingDone(LoadFailed):
    """No request was answered in the time: it is too short."""


@dataclass(frozen=True)
class Load:
    """One run: rates per second, times in milliseconds, `bytes_each` with headers."""

    rate: float
    p50: float
    p90: float
    p99: float
    worst: float
    bytes_each: float
    requests: int


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def run(url: str, headers: dict[str, str], *, seconds: float, connections: int = 16, cpu: int | None = None) -> Load:
    """Load `url` for `seconds` over that many keep-alive connections; `cpu` pins wrk to one core.

    Raises:
        LoadFailed: any answer was not 2xx, or a connection failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "report.lua"
        script.write_text(REPORT)
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "30s",
            "-s",
            str(script),
        ]
        if cpu is not None and shutil.which("taskset"):
            command = ["taskset", "-c", str(cpu), *command]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        done = subprocess.run([*command, url], capture_output=True, text=True, timeout=seconds + 60, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise LoadFailed(f"wrk ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    figures = json.loads(lines[0].removeprefix("RESULT "))
    failed = {kind: figures[kind] for kind in ("connect", "read", "write", "status", "timeout") if figures[kind]}
    if not failed and not figures["requests"]:
        raise NothingDone(f"{url}: no request was answered within {seconds:g} s")
    if failed:
        raise LoadFailed(f"{url}: of {figures['requests']} requests failed: {failed}")
    return Load(
        rate=figures["requests"] / (figures["microseconds"] / 1e6),
        p50=figures["p50"] / 1e3,
        p90=figures["p90"] / 1e3,
        p99=figures["p99"] / 1e3,
        worst=figures["max"] / 1e3,
        bytes_each=figures["bytes"] / figures["requests"],
        requests=figures["requests"],
    )
