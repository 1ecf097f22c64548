"""How text becomes words to be said: what is spelled out, what is layout, and that not a letter is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from offhook.model.local.voices.breath import breaths
from offhook.model.local.voices.text import LONGEST_SAY_CHARS, Phrase, phrases


def said(text: str) -> str:
    return " ".join(phrase.say for phrase in phrases(text) if phrase.say)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        # Addresses
        ("Write to jane.doe-smith@example.co.uk.", "Write to jane dot doe dash smith at example dot co dot U K."),
        ("mail info_2@xkcd.org, or", "mail info underscore 2 at X K C D dot org, or"),
        ("See https://www.example.com/help?id=5.", "See example dot com slash help."),
        ("(http://localhost:8080/a)", "(localhost slash A)"),
        ("Go to shop.example.org/a/b/c/d/e now", "Go to shop dot example dot org slash A slash B slash C now"),
        # Telephone numbers and other figures to be written down
        ("Call (555) 123-4567.", "Call five five five, one two three, four five six seven."),
        ("1-800-555-0199", "one, eight zero zero, five five five, zero one nine nine"),
        ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
        ("5551234567", "five five five, one two three, four five six seven"),
        ("555 123 4567", "five five five, one two three, four five six seven"),
        ("Call 911 now", "Call nine one one now"),
        ("Your code is 482913.", "Your code is four eight two, nine one three."),
        ("order #47192 is ready", "order number four seven one nine two is ready"),
        ("PIN: 0042", "PIN: zero zero four two"),
        ("1234 5678 9012 3456", "one two three four, five six seven eight, nine zero one two, three four five six"),
        # Figures that are amounts, years, times and dates are the voice's own business
        ("In 2027, 1500 people paid $1,234.56", "In 2027, 1500 people paid $1,234.56"),
        ("at 15:30 on 2027-01-05 or 10/12/2026", "at 15:30 on 2027-01-05 or 10/12/2026"),
        ("100,000,000 of them, 0.5 mg", "100,000,000 of them, 0.5 mg"),
        # Keys
        ("Press *9 or #.", "Press star 9 or pound."),
        ("or press * to repeat", "or press star to repeat"),
        # Ranges, units, signs, short forms
        ("Mon-Fri 9am-5pm", "Monday to Friday 9 A.M. to 5 P.M."),
        ("9:00\u201317:00", "9:00 to 17:00"),
        ("Aug 5-7", "Aug 5 to the 7th"),
        ("20€, 5 > 3, 3 * 4", "€20, 5 greater than 3, 3 times 4"),
        ("3 h, 1 h, 2 tsp", "3 hours, 1 hour, 2 teaspoons"),
        ("6'2\" tall", "6 foot 2 tall"),
        ("1 1/2 cups", "1 and 1/2 cups"),
        ("v2.0.1", "version 2 point 0 point 1"),
        ("e.g. this", "for example, this"),
        # Words at the end of a sentence are no abbreviations
        ("So no. “Yes or no.”", "So No. “Yes or No.”"),
        ("no. of course not", "No. of course not"),
        ("See no. 5, no.5, the no. of guests", "See no. 5, no.5, the no. of guests"),
        ("Your room no. is 12, phone no.: 3", "Your room no. is 12, phone no.: 3"),
        ("driver's ed. The 2nd ed. of it, ed. 4", "driver's Ed. The 2nd ed. of it, ed. 4"),
        ("A fig. See fig. 3, fig. A", "A figg. See fig. 3, fig. A"),
        ("soon, est. Or est. 1990, est. in May", "soon, Est. Or est. 1990, est. in May"),
        # Layout
        ("**Bold**, *slanted*, __strong__ and `code`.", "Bold, slanted, strong and code."),
        ("[our site](https://example.com/a_b) has it", "our site has it"),
        ("# Title\nText", "Title, Text"),
        ("- one\n- two\n- three", "one. two. three"),
        ("1. First\n2) Second", "1, First. 2, Second"),
        ("```python\nx = 1\n```", "x = 1"),
        ("<b>Now</b> or <br/> never", "Now or never"),
        ("> quoted\n---\nend", "quoted, end"),
        ("snake_case is divided", "snake case is divided"),
    ],
)
def test_it_is_said_as_a_person_would(written: str, spoken: str) -> None:
    assert said(written) == spoken


@pytest.mark.parametrize("text", ["Привет, мир", "😀", "你好。", "مرحبا", "한국어"])
def test_what_cannot_be_spoken_is_silent_and_told(text: str) -> None:
    found = phrases(text)
    assert all(not phrase.say and phrase.lost for phrase in found)


@pytest.mark.parametrize("text", ["", " \n", "...", "**", "---", "\u200b", "?!", '"', "™"])
def test_layout_alone_is_silent_but_not_lost(text: str) -> None:
    found = phrases(text)
    assert all(not phrase.say and not phrase.lost for phrase in found)
    assert "".join(phrase.text for phrase in found) == text


def test_other_languages_keep_their_signs() -> None:
    found = phrases("**Ruf** 030 123456 an, é?", english=False)
    assert " ".join(phrase.say for phrase in found) == "Ruf 030 123456 an, é?"


def test_a_number_over_several_words_is_one_phrase() -> None:
    assert phrases("Call (555) 123-4567 now.")[1].text == " (555) 123-4567"


ALPHABET = st.one_of(
    st.sampled_from(list(" \n\t.,;:!?*_`#-+[]()<>|\\/@~'\"0123456789aeiouxyzABZ$€%&")), st.characters(codec="utf-8")
)
FRAGMENTS = st.sampled_from(
    ["**", "](", "[a](b)", "a@b.co", "http://x.y/z", "www.", "555-1234", "+1 ", "- ", "\n1. ", "`", "9am-5pm", "e.g."]
)


@settings(max_examples=400)
@given(st.lists(st.one_of(FRAGMENTS, st.text(ALPHABET, max_size=12)), max_size=12).map("".join))
@example("x" * 1000)
@example("9" * 1000)
@example("a@" * 300)
@example("[" * 300 + "](" * 300)
@example("1-" * 500)
@example(" " * 20000)
@example("\n" * 5000)
@example("code number is " * 500)
def test_the_phrases_are_the_text_and_are_bounded(text: str) -> None:
    found = phrases(text)
    assert "".join(phrase.text for phrase in found) == text
    assert all(phrase.text for phrase in found)
    assert all(len(phrase.say) <= LONGEST_SAY_CHARS for phrase in found)
    assert all(phrase.say == " ".join(phrase.say.split()) for phrase in found)


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["well,", "and", "so", "Dr.", "Smith", "left.", "extraordinarily", ""]), max_size=80))
def test_breaths_are_the_phrases_in_order_and_bounded(says: list[str]) -> None:
    found = [Phrase(f" {index}", say) for index, say in enumerate(says)]
    divided = list(breaths(found))
    assert [phrase for breath in divided for phrase in breath] == found
    assert all(divided)
    assert all(sum(len(phrase.say) + 1 for phrase in breath) <= 180 + 2 * 16 for breath in divided)


@pytest.mark.parametrize(
    ("text", "divided"),
    [
        ("Hello. How are you?", ["Hello.", " How are you?"]),
        ("Ask Dr. Smith or J. Jones at 3 p.m. today.", ["Ask Dr. Smith or J. Jones at 3 p.m. today."]),
        ("Well, yes, please.", ["Well, yes, please."]),
        (
            "You should bring your insurance card and your passport with you, and a list of what you take, please.",
            [
                "You should bring your insurance card and your passport with you,",
                " and a list of what you take, please.",
            ],
        ),
        (
            "the appointment that we made for you last week with the very nice lady of the other office has been moved",
            [
                "the appointment that we made for you last week with the very nice lady",
                " of the other office has been moved",
            ],
        ),
    ],
)
def test_a_text_is_divided_where_one_would_breathe(text: str, divided: list[str]) -> None:
    assert ["".join(phrase.text for phrase in breath) for breath in breaths(phrases(text))] == divided
