"""What the peers share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.node_program import node


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def node_peers(_made_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip where there is no Node; let servers make the certificate that it trusts once, in a folder of the tests."""
    node()
    monkeypatch.setenv("XDG_DATA_HOME", str(_made_once))
