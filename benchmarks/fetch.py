"""One big answer, timed by curl, so that the client is not what is measured."""

from __future__ import annotations

import subprocess

from benchmarks.wrk import LoadFailed

SECONDS = 120


def fetch(url: str, headers: dict[str, str], *, least_bytes: int) -> float:
    """Milliseconds from the connection's beginning to the last byte.

    Raises:
        LoadFailed: the answer is not 200, or shorter than `least_bytes`.
    """
    command = [
        "curl",
        "-sk",
        "-o",
        "/dev/null",
        "-m",
        str(SECONDS),
        "-w",
        "%{http_code} %{time_total} %{size_download}",
    ]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    code, seconds, size = [*done.stdout.split(), "0", "0", "0"][:3]
    if done.returncode or code != "200" or int(float(size)) < least_bytes:
        raise LoadFailed(f"{url}: curl ended with {done.returncode}, HTTP {code}, {size} bytes")
    return float(seconds) * 1e3
