"""From flags, environment and TOML file to the settings of a server, checked one by one and together."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, get_args

from offhook.config.tree import SETTINGS, Config, ProjectConfig
from offhook.config.value import (
    parse_secrets,
    parse_texts,
    parse_url,
)
from offhook.errors import ConfigError
from offhook.host.cost import read_prices
from offhook.model.settings import BUILT_IN, BY_PARTS, PARTS, Role, check_backends, read_backends
from offhook.session.relay.dialect import dialect_of
from offhook.session.truncation import input_limit
from offhook.wire.session import ConnectorId

ENV_PREFIX: Final = "OFFHOOK_"
_TABLES = {"projects", "model_names", "mcp_connectors", "backends", "prices"}


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def load_config(flags: Mapping[str, Any], env: Mapping[str, str], path: Path | None = None) -> Config:
    """Return the settings from flags (by name; None is not given), environment and TOML file.

    Raises ConfigError that names the flag, the variable or the key of the file.
    """
    table = _read_table(path)
    values: dict[str, Any] = {}
    known = {ENV_PREFIX + each.name.upper() for each in SETTINGS} | {ENV_PREFIX + "CONFIG"}
    for name in env:
        if name.startswith(ENV_PREFIX) and name not in known:
            raise ConfigError(name, "is no setting of offhook", "see offhook serve --help")
    for setting in SETTINGS:
        name, parse = setting.name, setting.metadata["parse"]
        variable = ENV_PREFIX + name.upper()
        if flags.get(name) is not None:
            values[name] = parse(flag_of(name), flags[name])
        elif variable in env:
            given = env[variable]
            several = [each.strip() for each in given.split(",")]
            values[name] = parse(variable, several if setting.metadata["repeat"] else given)
        elif name in table:
            values[name] = parse(f"{path}: {name}", table[name])
    values["projects"] = _projects(path, table.get("projects", {}))
    values["model_names"] = _model_names(path, table.get("model_names", {}))
    values["mcp_connectors"] = _mcp_connectors(path, table.get("mcp_connectors", {}))
    values["backends"] = read_backends(f"{path}: backends", table.get("backends", {}))
    config = check(Config(**values))
    known = {*BUILT_IN, *config.backends, *chain(*config.orders.values())}
    return replace(config, prices=read_prices(f"{path}: prices", table.get("prices", {}), config.currency, known))


def _read_table(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as failure:
        raise ConfigError("--config", f"cannot read {path}: {failure.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise ConfigError("--config", f"{path} is not TOML: {failure}") from None
    known = {each.name for each in SETTINGS} | _TABLES
    for name in table:
        if name not in known:
            raise ConfigError(f"{path}: {name}", "is no setting of offhook", "see offhook serve --help")
    return table


def _projects(path: Path | None, table: Any) -> tuple[ProjectConfig, ...]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: projects", "is not a table", "write [projects.ID]")
    parsers: dict[str, Callable[[str, Any], Any]] = {
        "api_keys": parse_texts,
        "webhook_url": parse_url,
        "webhook_secrets": parse_secrets,
    }
    projects = []
    for project_id, members in table.items():
        where = f"{path}: projects.{project_id}"
        if not isinstance(members, dict):
            raise ConfigError(where, "is not a table", f"write [projects.{project_id}]")
        for name in members:
            if name not in parsers:
                raise ConfigError(f"{where}.{name}", f"is no setting; a project has {', '.join(parsers)}")
        values = {name: parsers[name](f"{where}.{name}", value) for name, value in members.items()}
        if not values.get("api_keys"):
            raise ConfigError(f"{where}.api_keys", "is missing: nobody could answer its calls")
        projects.append(ProjectConfig(id=project_id, **values))
    return tuple(projects)


def _model_names(path: Path | None, table: Any) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ConfigError(f"{path}: model_names", "is not a table of names", 'write "gpt-realtime" = "qwen3:8b"')
    return table


def _mcp_connectors(path: Path | None, table: Any) -> dict[str, str]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: mcp_connectors", "is not a table", 'write connector_gmail = "https://..."')
    known = get_args(ConnectorId)
    for name in table:
        if name not in known:
            raise ConfigError(f"{path}: mcp_connectors.{name}", f"is no connector; there are {', '.join(known)}")
    return {name: parse_url(f"{path}: mcp_connectors.{name}", url) for name, url in table.items()}


def check(config: Config) -> Config:
    """Return the settings when they fit together. Raises ConfigError when they cannot work."""
    if config.projects:
        for name in ("api_key", "webhook_url", "webhook_secret"):
            if getattr(config, name):
                raise ConfigError(flag_of(name), "does not go with [projects]", "give it in each project's table")
    elif not config.api_key and not config.http.is_loopback:
        message = f"is needed: {config.http} can be reached from other machines"
        raise ConfigError("--api-key", message, "give one, or listen on 127.0.0.1")
    if input_limit(config.context_tokens, config.output_tokens) == 0:
        message = f"{config.output_tokens} of output leave no input in a context of {config.context_tokens}"
        raise ConfigError("--output-tokens", message, "give less, or a larger --context-tokens")
    if (config.tls_cert is None) != (config.tls_key is None):
        missing = "--tls-key" if config.tls_key is None else "--tls-cert"
        raise ConfigError(missing, "is missing", "a certificate and its key go together")
    if config.tls_self_signed and config.tls_cert is not None:
        raise ConfigError("--tls-self-signed", "does not go with --tls-cert", "give one of them")
    if config.llm_gguf is not None and config.llm_url is not None:
        raise ConfigError("--llm-gguf", "does not go with --llm-url", "only one of them can think")
    _check_relay(config)
    urls: dict[Role, bool] = {role: getattr(config, f"{role}_url") is not None for role in PARTS}
    check_backends(config.orders, config.backends, urls, gguf=config.llm_gguf is not None)
    if config.strict_models and not config.model_names:
        raise ConfigError("--strict-models", "leaves no model", "name some in [model_names]")
    return config


def _check_relay(config: Config) -> None:
    if config.relay_url is None:
        return
    for name in ("llm_url", "llm_gguf", "stt_url", "tts_url", "llm", "stt", "tts"):
        if getattr(config, name) and BY_PARTS not in config.backend:
            mend = f"upstream hears, thinks and speaks; --backend {BY_PARTS} lets the others stand in for it"
            raise ConfigError("--relay-url", f"does not go with {flag_of(name)}", mend)
    if config.relay_turns == "upstream" and not dialect_of(config.relay_dialect, config.relay_url).finds_turns:
        why = f"'{config.relay_dialect}' cannot find turns without answering them"
        raise ConfigError("--relay-turns", why, "leave it out")
