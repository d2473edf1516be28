"""Options, variables and the YAML file: what wins, what is refused, and what people are told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
import pytest

from informers.settings import InformerSettings
from larder.__main__ import COMMANDS, main
from larder.options import OptionError, add_options, field_docs, load, refuse_unknown
from larder.up_settings import UpSettings
from sandbox.settings import SandboxSettings
from server.settings import ServerSettings

STRUCTS: dict[str, type[msgspec.Struct]] = {
    "up": UpSettings, "informer": InformerSettings, "server": ServerSettings, "sandbox": SandboxSettings,
}  # fmt: skip


def _load(*arguments: str, environment: dict[str, str] | None = None, config: Path | None = None) -> ServerSettings:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_options(parser, ServerSettings)
    return load(
        ServerSettings, "server", arguments=parser.parse_args(arguments), environment=environment or {}, config=config
    )


def test_options_win_over_variables_and_these_over_the_file(tmp_path: Path) -> None:
    """Each source is taken where no stronger one says anything."""
    config = tmp_path / "larder.yaml"
    config.write_text("server:\n  prefix: file\n  redis_url: redis://file\n  max_staleness: 7\n  anonymous: true\n")
    environment = {"LARDER_PREFIX": "variable", "LARDER_REDIS_URL": "redis://variable"}
    settings = _load("--prefix", "option", environment=environment, config=config)
    assert (settings.prefix, settings.redis_url, settings.max_staleness, settings.anonymous) == (
        "option", "redis://variable", 7.0, True,
    )  # fmt: skip
    assert settings.listen == ServerSettings().listen


def test_lists_are_repeated_or_separated_by_commas() -> None:
    """Both ways of giving several values, and both in one."""
    settings = _load("--tenant-label", "a.example/t, b.example/t", "--tenant-label", "c")
    assert settings.tenant_label == ["a.example/t", "b.example/t", "c"]
    assert _load(environment={"LARDER_TENANT_LABEL": "a,b"}).tenant_label == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("server:\n  redis_ulr: x\n", "did you mean redis_url?"),
        ("server:\n  redis-url: x\n", "did you mean redis_url?"),
        ("sevrer:\n  prefix: x\n", "sevrer"),
        ("- a\n", "sections"),
        ("server: [\n", "not YAML"),
        ("server:\n  max_staleness: soon\n", "--max-staleness must be a number, not 'soon'"),
        ("server:\n  max_staleness: -1\n", "--max-staleness must be a number >= 0.0, not -1"),
        ("server:\n  tenant_label: 3\n", "--tenant-label must be a list, not 3"),
    ],
)
def test_a_file_with_something_unknown_or_wrong_is_refused(
    tmp_path: Path, text: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the message names what is wrong."""
    config = tmp_path / "larder.yaml"
    config.write_text(text)
    assert main(["server", "--config", str(config)]) == 2
    assert named in capsys.readouterr().err


def test_a_misspelt_variable_is_refused() -> None:
    """A variable with our prefix that is no setting stops the start, with what was probably meant."""
    with pytest.raises(OptionError, match="did you mean LARDER_REDIS_URL"):
        refuse_unknown({"LARDER_REDSI_URL": "x"}, None, STRUCTS)
    refuse_unknown({"LARDER_REDIS_URL": "x", "OTHER": "y"}, None, STRUCTS)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["server", "--redis-ulr", "x"], "did you mean --redis-url"),
        (["server", "--listen", "8443"], "HOST:PORT"),
        (["server", "--listen", "127.0.0.1:99999"], "HOST:PORT"),
        (["informer", "--lease-seconds", "many"], "--lease-seconds must be a number, not 'many'"),
        (["informer", "--lease-seconds", "1"], "--lease-seconds must be a number >= 2.0"),
        (["sandbox", "--pods", "-4"], "--pods must be a whole number >= 0"),
        (["up", "--replicas", "0"], "--replicas must be a whole number >= 1"),
        (["up", "--tls-cert", "x"], "--tls-cert and --tls-key go together"),
        (["server", "--tls-key", "x"], "--tls-cert and --tls-key go together"),
        (["server", "--client-ca", "x"], "--client-ca needs --tls-cert"),
        (["server", "--config", "/nowhere/larder.yaml"], "/nowhere/larder.yaml"),
    ],
)
def test_unusable_options_are_named(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and one line that says what to give instead."""
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert named in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("command", sorted(STRUCTS))
def test_every_setting_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` names each setting of the command with the sentence from its definition."""
    assert COMMANDS[command][0] is STRUCTS[command]
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    docs = field_docs(STRUCTS[command])
    for field in msgspec.structs.fields(STRUCTS[command]):
        assert f"--{field.name.replace('_', '-')}" in shown
        assert docs[field.name].split(":")[0][:40] in shown, field.name


@pytest.mark.parametrize(
    ("struct", "names"),
    [
        (ServerSettings, "kubeconfig redis_url tenant_label listen tls_cert tls_key client_ca"),
        (ServerSettings, "metrics_listen max_staleness"),
        (InformerSettings, "kubeconfig redis_url tenant_label resources metrics_listen"),
        (UpSettings, "kubeconfig redis_url tenant_label resources replicas"),
    ],
)  # fmt: skip
def test_promised_names_stay(struct: Any, names: str) -> None:
    """The options that people have in their scripts are there."""
    assert set(names.split()) <= {field.name for field in msgspec.structs.fields(struct)}


def test_without_a_command_the_commands_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`larder` alone explains itself, and is no success."""
    assert main([]) == 2
    shown = capsys.readouterr().out
    assert all(command in shown for command in STRUCTS)
