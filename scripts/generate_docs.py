"""Writes docs/settings.md and docs/sip-transactions.md from the code; a test holds them to it."""

from __future__ import annotations

from pathlib import Path

from offhook.cli import shown_default
from offhook.config import ENV_PREFIX, SETTINGS, flag_of
from offhook.sip.transaction import MACHINES, mermaid

DOCS = Path(__file__).parent.parent / "docs"


def settings() -> str:
    """Every setting with its flag, its variable, its default and what it does."""
    lines = [
        "# Settings",
        "",
        f"A flag beats its variable (`{ENV_PREFIX}` and the key in capitals), which beats the key in the TOML file.",
        "Flags marked + may be repeated; their variables hold several values split by commas.",
        "",
        "| flag | key | default | |",
        "|---|---|---|---|",
    ]
    for setting in SETTINGS:
        metadata = setting.metadata
        flag = f"`{flag_of(setting.name)}{' ' + metadata['show'] if metadata['show'] else ''}`"
        default = shown_default(setting.default)
        shown = f"`{default}`" if default else ""
        lines.append(
            f"| {flag}{' +' if metadata['repeat'] else ''} | `{setting.name}` | {shown} | {metadata['help']} |"
        )
    lines += [
        "",
        "Only in the TOML file: `[projects.ID]` with `api_keys`, `webhook_url` and `webhook_secrets`; `[model_names]`;",
        "`[mcp_connectors]`; `[backends.NAME]` and `[prices.NAME]`, described in [backends.md](backends.md).",
        "",
    ]
    return "\n".join(lines)


def transactions() -> str:
    """The SIP transaction machines as diagrams."""
    lines = ["# The SIP transaction machines", "", "Drawn from the tables in `src/offhook/sip/transaction.py`.", ""]
    for machine in MACHINES:
        lines += [f"## {machine.name}", "", "```mermaid", mermaid(machine).rstrip(), "```", ""]
    return "\n".join(lines)


PAGES = {"settings.md": settings, "sip-transactions.md": transactions}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
