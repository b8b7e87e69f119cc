"""Questions that look alike and ask for different things, and those that ask for the same."""

from __future__ import annotations

import pytest

from fairlead.serve.llm.cache.sameness import differ, overlap

DIFFERENT = [
    ("polarity", "Is it safe to take this medicine?", "Is it not safe to take this medicine?"),
    ("polarity", "Why can I transfer money?", "Why can't I transfer money?"),
    ("polarity", "Why can I pay?", "Why can\u2019t I pay?"),
    ("polarity", "How do I log in with a password?", "How do I log in without a password?"),
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
    ("opposite", "How do I enable two-factor login?", "How do I disable two-factor login?"),
    ("opposite", "How do I block my card?", "How do I unblock my card?"),
    ("opposite", "When was it first seen?", "When was it last seen?"),
    ("asked", "Who wrote the contract?", "When was the contract written?"),
]
SAME = [
    ("How do I reset my password?", "How can I reset my password?"),
    ("What is the capital of France?", "What's the capital of France?"),
    ("How do I open an account?", "How can I open a new account?"),
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
