"""Which prompts are the same prompt: equal or nearly equal texts share a group, and a group never splits."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain
from unicodedata import normalize

from schemas.manifest import Split, SplitRule

SHINGLE_WORDS = 3

_WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """The text without case, punctuation, spacing and compatibility forms; itself where nothing else is left."""
    return " ".join(_WORD.findall(normalize("NFKC", text).casefold())) or text


def shingles(text: str) -> frozenset[str]:
    """Every run of three words of a normalised text; a shorter text is one run."""
    words = text.split(" ")
    runs = max(1, len(words) - SHINGLE_WORDS + 1)
    return frozenset(" ".join(words[at : at + SHINGLE_WORDS]) for at in range(runs))


def nearly_equal(a: frozenset[str], b: frozenset[str]) -> bool:
    """Jaccard similarity of at least one half, in integers."""
    return 3 * len(a & b) >= len(a) + len(b)


def group_of(texts: Iterable[str]) -> dict[str, str]:
    """Each text's group: the SHA-256 of the least normalised text among those it is linked to by near-equality.

    Exact and independent of order. A text that is new to the set changes another's group only by joining it to a
    lesser one, so splits of later snapshots keep to earlier ones.
    """
    normal = {text: normalised(text) for text in set(texts)}
    distinct = sorted(set(normal.values()))
    least = _components(len(distinct), _near_pairs([shingles(text) for text in distinct]))
    digests = {text: sha256(distinct[least[at]].encode()).hexdigest() for at, text in enumerate(distinct)}
    return {text: digests[norm] for text, norm in normal.items()}


def split_of(group: str, test_percent: int = 15) -> Split:
    """The split of a group, by its hash alone: so many of a hundred groups are held out."""
    return "test" if int(group[:16], 16) % 100 < test_percent else "train"


def assigned(rows: Sequence[tuple[str, Sequence[str]]], rule: SplitRule) -> list[tuple[str, Split]]:
    """Group and split of each row, given as the group of its prompt and its writers.

    By writer, groups of prompts that share a writer are one group, under the least of their names; one with more than half of all
    rows trains, since no such group can be what is held out (docs/decisions/0016).
    """
    if rule.by == "prompt":
        return [(group, split_of(group, rule.test_percent)) for group, _ in rows]
    groups = _with_writers(rows)
    held = Counter(groups)
    return [(group, "train" if 2 * held[group] > len(rows) else split_of(group, rule.test_percent)) for group in groups]


def _with_writers(rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    distinct = sorted({group for group, _ in rows})
    number = {group: at for at, group in enumerate(distinct)}
    first: dict[str, int] = {}
    pairs = [(first.setdefault(writer, number[group]), number[group]) for group, writers in rows for writer in writers]
    least = _components(len(distinct), pairs)
    return [distinct[least[number[group]]] for group, _ in rows]


def _near_pairs(sets: Sequence[frozenset[str]]) -> Iterator[tuple[int, int]]:
    """All nearly equal pairs. Rarest runs first, two nearly equal sets share one of their first few (prefix filter)."""
    seen_in = Counter(chain.from_iterable(sets))
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for at, runs in enumerate(sets):
        rare_first = sorted(runs, key=lambda run: (seen_in[run], run))
        prefix = rare_first[: len(runs) // 2 + 1]
        for other in sorted({other for run in prefix for other in holders[run]}):
            if nearly_equal(runs, sets[other]):
                yield other, at
        for run in prefix:
            holders[run].append(at)


def _components(size: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The least member of each one's component."""
    parent = list(range(size))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(at) for at in range(size)]
