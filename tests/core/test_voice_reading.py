"""Finding the words of a text again in what is said of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.model.local.voices.reading import Block, align


def pairs(written: str, said: str) -> list[tuple[str, str]]:
    first, second = written.split(), said.split()
    return [
        (" ".join(first[block.written : block.written_end]), " ".join(second[block.said : block.said_end]))
        for block in align(first, second)
    ]


@pytest.mark.parametrize(
    ("written", "said", "expected"),
    [
        ("all the same", "all the same", [("all", "all"), ("the", "the"), ("same", "same")]),
        ("Dr. Smith came", "Doctor Smith came", [("Dr.", "Doctor"), ("Smith", "Smith"), ("came", "came")]),
        (
            "at 3:30 PM, or",
            "at three thirty P.M., or",
            [("at", "at"), ("3:30 PM,", "three thirty P.M.,"), ("or", "or")],
        ),
        ("6 ½ cups", "6 one half cups", [("6", "6"), ("½", "one half"), ("cups", "cups")]),
        ("one • two", "one two", [("one", "one"), ("•", ""), ("two", "two")]),
        ("five", "the five", [("five", "the five")]),
        ("five", "five degrees", [("five", "five degrees")]),
        ("gone", "", [("gone", "")]),
    ],
)
def test_each_word_is_found_again(written: str, said: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(written, said) == expected


WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(WORDS, WORDS)
def test_blocks_cover_both_sides_in_order(written: list[str], said: list[str]) -> None:
    blocks = align(written, said)
    assert [place for block in blocks for place in range(block.written, block.written_end)] == list(range(len(written)))
    if written:
        assert [place for block in blocks for place in range(block.said, block.said_end)] == list(range(len(said)))
    assert all(block.written < block.written_end for block in blocks)


def test_nothing_written_is_nothing() -> None:
    assert align([], []) == []
    assert align(["a"], ["a"]) == [Block(0, 1, 0, 1)]
