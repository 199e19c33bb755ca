"""Three simulated reviewers for texts that nobody has reviewed: fixed rules, the same for ever, and honest about it.

Their ids begin with `rule-` and their reasons with `simulated`, so that no vote of theirs passes for a person's.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from schemas.words import Label

MIN_WORDS, MAX_WORDS = 2, 400
#: Shorter texts are names, numbers and labels: they need no full stop, and repeat nothing.
SENTENCE_WORDS = 8
GRAM_WORDS = 4
MIN_DISTINCT_PERCENT = 70
_FINISHED = re.compile(r"""[.!?:;…。)\]}>"'”’`*/0-9]$""")  # noqa: RUF001  # a closing quote is meant


class RuleVote(NamedTuple):
    voter: str
    label: Label
    reason: str


def rule_votes(text: str) -> Iterator[RuleVote]:
    """What each rule says about a text; the same text always gets the same votes."""
    for voter, rule in _RULES.items():
        good, saw = rule(text.split(), text.rstrip())
        yield RuleVote(voter, "good" if good else "bad", f"simulated: {saw}")


Judged = tuple[bool, str]


def _length(words: list[str], _: str) -> Judged:
    return MIN_WORDS <= len(words) <= MAX_WORDS, f"{len(words)} words; from {MIN_WORDS} to {MAX_WORDS} are good"


def _ending(words: list[str], text: str) -> Judged:
    if len(words) < SENTENCE_WORDS:
        return True, f"{len(words)} words need no end"
    return bool(_FINISHED.search(text)), f"ends with {text[-1]!r}"


def _repetition(words: list[str], _: str) -> Judged:
    grams = [tuple(words[at : at + GRAM_WORDS]) for at in range(len(words) - GRAM_WORDS + 1)]
    percent = 100 * len(set(grams)) // len(grams) if grams else 100
    return percent >= MIN_DISTINCT_PERCENT, f"{percent} % of runs of {GRAM_WORDS} words are distinct"


_RULES: dict[str, Callable[[list[str], str], Judged]] = {
    "rule-length": _length,
    "rule-ending": _ending,
    "rule-repetition": _repetition,
}
