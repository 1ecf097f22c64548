"""What the words of a caller say about the caller's turn."""

from __future__ import annotations

import pytest

from offhook.session.reading import Reading, is_nod, read, reads_complete

WHOLE = [
    "I would like to book a table for two.",
    "What time do you open?",
    "Stop!",
    "Thank you.",
    "No.",
    "Yes, I do.",
    "Yes, it is.",
    "I think so.",
    "Who is it for?",
    "Where are you from?",
    "I'll take this one.",
    "Me too.",
    "How are you?",
    "It's at 3:30 PM.",
    "My number is 555 012 3456.",
    "Turn it off, please.",
    "I cannot log in.",
    "Can you turn it on?",
    "I have called before.",
    'He said "I am ready."',
    "What?",
    "The total is $42.60.",
]
CUT = [
    "I would like to.",
    "Can I speak to the",
    "Can I speak to the.",
    "My name is.",
    "I want a table for.",
    "Well, um",
    "Um.",
    "I think that, uh...",
    "I'd like to order a pizza,",
    "It depends on whether.",
    "First I called them and.",
    "I don't.",
    "I was told that it's.",
    "We could come on Monday, or",
    "So what I need is\u2026",
    "Let me see -",
    "We were so.",
    "And I.",
    "What time do you?",
    "When can we.",
    "Could you tell me where?",
]
OPEN = [
    "I would like a table for two",
    "My number is 555",
    "My number is 555.",
    "It is five five five oh one.",
    "",
    "...",
    "555-0123.",
]


@pytest.mark.parametrize("text", WHOLE)
def test_a_whole_sentence_reads_complete(text: str) -> None:
    assert reads_complete(text)


@pytest.mark.parametrize("text", CUT)
def test_a_sentence_that_was_cut_inside_reads_cut(text: str) -> None:
    assert read(text) is Reading.CUT


@pytest.mark.parametrize("text", OPEN)
def test_what_may_go_on_reads_neither_whole_nor_cut(text: str) -> None:
    assert read(text) is Reading.OPEN
    assert not reads_complete(text)


@pytest.mark.parametrize(
    ("text", "language", "reading"),
    [
        ("Ich komme mit an.", "de", Reading.WHOLE),
        ("Je voudrais une,", "fr", Reading.CUT),
        ("\u4eca\u65e5\u306f\u3002", "ja", Reading.WHOLE),
        ("Quiero un", "es", Reading.OPEN),
    ],
)
def test_of_other_languages_only_the_punctuation_is_read(text: str, language: str, reading: Reading) -> None:
    assert read(text, language) is reading


@pytest.mark.parametrize(
    "text",
    ["Mm-hm.", "Okay.", "OK", "Yeah, yeah.", "Right.", "Uh-huh.", "Hmm", "All right.", "I see.", "Oh, okay.", "Got it.",
     "", "Mmhmm.", "Yeah, okay, sure.", "S\u00ed."],
)  # fmt: skip
def test_a_nod_is_told_from_an_interruption(text: str) -> None:
    assert is_nod(text)


@pytest.mark.parametrize(
    "text",
    ["Stop.", "No.", "Wait.", "Okay, but I have a question.", "Yeah no.", "What?", "Sorry?", "Right now.",
     "I see a dog.", "Yes yes yes yes.", "Thank you."],
)  # fmt: skip
def test_an_interruption_is_no_nod(text: str) -> None:
    assert not is_nod(text)
