"""Questions that look alike and ask for different things, and those that ask for the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.llm.cache.sameness import differ, overlap, replaced

DIFFERENT = [
    ("polarity", "Is it safe to take this medicine?", "Is it not safe to take this medicine?"),
    ("polarity", "Why can I transfer money?", "Why can't I transfer money?"),
    ("polarity", "Why can I pay?", "Why can\u2019t I pay?"),
    ("polarity", "How do I log in with a password?", "How do I log in without a password?"),
    ("polarity", "I cant transfer money", "I want to transfer money"),
    ("polarity", "Why dont you answer?", "Why do you answer?"),
    ("number", "Convert 10 euros to dollars", "Convert 100 euros to dollars"),
    ("number", "What happened in 1914?", "What happened in 1941?"),
    ("number", "The two best films", "The three best films"),
    ("number", "Set it to 5%", "Set it to 5"),
    ("entity", "What is the capital of France?", "What is the capital of Germany?"),
    ("entity", "Install it with PyTorch", "Install it with TensorFlow"),
    ("entity", "What does GPU mean?", "What does CPU mean?"),
    ("entity", "What does set_column take?", "What does add_column take?"),
    ("entity", "When is torch.save slow?", "When is torch.load slow?"),
    ("entity", "What does fit() return?", "What does predict() return?"),
    ("entity", "How do I reach US support?", "How do I reach us, support?"),
    ("opposite", "How do I enable two-factor login?", "How do I disable two-factor login?"),
    ("opposite", "How do I block my card?", "How do I unblock my card?"),
    ("opposite", "When was it first seen?", "When was it last seen?"),
    ("asked", "Do you know where you were born?", "Do you know when you were born?"),
    ("asked", "Must I verify my identity?", "Can I verify my identity?"),
    ("asked", "Who wrote the contract?", "When was the contract written?"),
]
SAME = [
    ("How do I reset my password?", "How can I reset my password?"),
    ("What is the capital of France?", "What's the capital of France?"),
    ("How do I open an account?", "How can I open a new account?"),
    ("Can you tell me how to open an account?", "How do I open an account?"),
    ("Gradio builds demos", "Demos are built by Gradio"),
    ("It is not broken", "It isn't broken"),
    ("Show 2 examples", "Show two examples"),
    ("The price is 1,000 euros", "The price is 1000 euros"),
]


@pytest.mark.parametrize(("why", "one", "other"), DIFFERENT)
def test_they_ask_for_different_things(why, one, other):
    assert differ(one, other) == why
    assert differ(other, one) == why


@pytest.mark.parametrize(("one", "other"), SAME)
def test_they_ask_for_the_same(one, other):
    assert differ(one, other) == ""
    assert differ(one, one) == ""


def test_a_text_without_words():
    assert differ("", "") == ""
    assert differ("?!", "...") == ""


def test_words_in_common_whatever_their_endings():
    assert overlap("How do I reset my passwords?", "Resetting the password") == 1.0
    assert overlap("What do I do if my phone is stolen?", "What do I do if my card is stolen?") == pytest.approx(1 / 3)
    assert overlap("", "") == 1.0
    assert overlap("card", "") == 0.0


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("i'm traveling to london soon", "i'm traveling to paris soon", 1),
        ("will i be charged if i use my card in mexico", "will i be charged if i use my card in canada", 1),
        ("share my location with my brother", "share my location with my dad", 1),
        ("How long does it take to receive my card?", "How long does it take to activate my card?", 1),
        ("fly from rome to oslo", "fly from paris to berlin", 2),
        ("Where can I buy a ticket?", "Where could I purchase tickets?", 0),
        ("Resetting the password", "How do I reset my passwords?", 0),
        ("My card was stolen", "My card was stolen yesterday", 0),
        ("", "card", 0),
    ],
)
def test_words_in_the_place_of_others(one, other, words):
    assert replaced(one, other) == words
    assert replaced(other, one) == words


SAID = "how do i can't not reset my password card Berlin 10 ten must in london enable disable the"
TEXTS = st.lists(st.sampled_from(SAID.split()), max_size=9).map(" ".join)


@given(TEXTS, TEXTS)
def test_it_does_not_matter_which_was_asked_first(one, other):
    assert differ(one, other) == differ(other, one)
    assert overlap(one, other) == overlap(other, one)
    assert replaced(one, other) == replaced(other, one)
    assert (differ(one, one), overlap(one, one), replaced(one, one)) == ("", 1.0, 0)


@given(TEXTS, st.sampled_from(["not", "11", "Zurich"]))
def test_a_negation_a_number_or_a_name_more_is_never_the_same(text, more):
    assert differ(f"so {text}", f"so {text} {more}")


@given(TEXTS, TEXTS, st.sampled_from(["oslo", "brother", "receive"]), st.sampled_from(["lima", "father", "activate"]))
def test_another_word_in_the_same_place_is_always_seen(before, after, one, other):
    assert replaced(f"{before} {one} {after}", f"{before} {other} {after}") >= 1
