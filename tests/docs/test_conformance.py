"""docs/conformance.md claims no more than the tests of this run saw."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.matrix import SEEN, claims, client_places, page, seen_claims, server_places

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
INTRO = """\
# Conformance

Event by event and field by field: what the tests saw. The suite fails when this page claims more, and it is written by

    pytest tests/core tests/sim tests/docs/test_conformance.py --write-conformance

- Of a **client event**, *yes* means obeyed: a test that is marked as the proof of this field sent it on this door and
  passed. *refused* means that such a test saw an `error` that names the field, and nothing changed. *sent* means that
  tests sent it, and none is marked as its proof. What is looked at is what the conversation tells the model, the
  recogniser, the detector of speech and other clients; `tests/socket` and `tests/conformance` have real ones behind it.
- Of a **server event**, *yes* means that at least two different values of the field were seen on this door, each event
  valid by the public schema and the official SDK's types. *only* names the one value that was ever seen: a fixed
  figure is not counted as built. A dash is a field that was never sent.
- Doors: `call` is the sideband of a telephone call, `socket` a session of its own over WebSocket, `transcription` a
  transcription session. A door on which the contract has no such event is empty.

Not run here, for want of their keys and networks: the relay against OpenAI, Azure and xAI.
"""


@pytest.mark.judges_the_run
def test_the_matrix_claims_no_more_than_was_seen(request: pytest.FixtureRequest) -> None:
    if not SEEN.whole:
        pytest.skip("only a run of all of tests/core and tests/sim can judge the matrix")
    if request.config.getoption("--write-conformance"):
        PAGE.write_text(page(INTRO), encoding="utf-8")
    assert claims(PAGE.read_text(encoding="utf-8")) - seen_claims() == set()


def test_the_matrix_names_every_event_of_the_contract() -> None:
    text = PAGE.read_text(encoding="utf-8")
    kinds = [kind for kind in [*client_places(), *server_places()] if "." in kind]
    assert len(kinds) == 56
    assert [kind for kind in kinds if f"### `{kind}`" not in text] == []


def test_a_page_that_claims_more_is_found_out() -> None:
    text = "## What the server sends\n\n### `error`\n\n| field | call | socket | transcription | test |\n"
    text += "|---|---|---|---|---|\n| `error.zzz` | yes | - |  | test_x: test_y |\n"
    assert claims(text) == {("server", "error", "error.zzz", "call")}
    assert not claims(text) & seen_claims()
    assert claims(text.replace("yes", "refused")) == {("refused", "error", "error.zzz", "call")}
