"""docs/conformance.md claims no more than the tests of this run saw."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.matrix import (
    SEEN,
    Row,
    claims,
    client_places,
    page,
    read,
    rows,
    server_places,
    summary,
    summary_of,
    without_their_test,
)

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
INTRO = """\
# Conformance

Event by event and field by field: what the tests saw. The suite fails when this page claims more, and it is written by

    pytest tests/core tests/sim tests/docs/test_conformance.py --write-conformance

- Of a **client event**, *yes* means obeyed: a test that is marked as the proof of this field sent it on this door and
  passed. Where `null` says no more than silence does, the test sees it end what was there before. *refused* means that
  such a test saw an `error` that names the field, and nothing changed. *sent* means that tests sent it, and none is
  marked as its proof. What is looked at is what the conversation tells the model, the recogniser, the detector of
  speech and other clients; `tests/socket` and `tests/conformance` have real ones behind it.
- Of a **server event**, *yes* means that at least two different values of the field were seen on this door, each event
  valid by the public schema and the official SDK's types. *only* names the one value that was ever seen: a fixed
  figure is not counted as built. A dash is a field that was never sent. Of an event itself, and of one of several forms
  of a field (`<...>` at its end), one sighting is enough; the summary counts these rows like the others.
- One **test** stands for all doors of a row: it shows the field on one of them. On each other door that says *yes* or
  *refused*, a test showed it too, of this name or another.
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
    told = read(PAGE.read_text(encoding="utf-8"))
    assert claims(told) - claims(rows()) == set()
    assert without_their_test(told) == []


def test_the_matrix_names_every_event_of_the_contract() -> None:
    text = PAGE.read_text(encoding="utf-8")
    kinds = [kind for kind in [*client_places(), *server_places()] if "." in kind]
    assert len(kinds) == 56
    assert [kind for kind in kinds if f"### `{kind}`" not in text] == []


def test_the_matrix_has_every_field_of_the_contract_on_every_door_once() -> None:
    def places(found: Iterable[Row]) -> list[tuple[str, str, str, list[str]]]:
        return [(row.section, row.kind, row.path, list(row.cells)) for row in found]

    assert places(read(PAGE.read_text(encoding="utf-8"))) == places(rows())


def test_the_page_begins_as_it_is_written_and_its_summary_counts_the_rows() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert summary(text) == summary_of(read(text))
    assert text.startswith(INTRO)


def test_a_page_that_claims_more_is_found_out() -> None:
    text = "## What the server sends\n\n### `error`\n\n| field | call | socket | transcription | test |\n"
    text += "|---|---|---|---|---|\n| `error.zzz` | yes | - |  | test_x: test_y |\n"
    assert claims(read(text)) == {("server", "error", "error.zzz", "call")}
    assert not claims(read(text)) & claims(rows())
    assert claims(read(text.replace("yes", "refused"))) == {("refused", "error", "error.zzz", "call")}
    assert [row.test for row in without_their_test(read(text))] == ["test_x: test_y"]
    assert without_their_test(read(text.replace("yes", "sent"))) == []
