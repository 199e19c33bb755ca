"""What the command line prints for people: whole texts, first offsets, the temperature that counts."""

import io

from rich.console import Console, RenderableType

from infra.cli import explaining, queue

LONG = "word " * 100 + "[bold]end"


def printed(what: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=2_000).print(what)
    return out.getvalue()


def lease(**more: object) -> dict[str, object]:
    about = {"lease": "l", "until": "u", "task": "judge", "subject": "s-1", "revision": 1, "slice": "en/a/b"}
    empty = {"labels": ["good", "bad"], "criteria": [], "conversation": [], "text": LONG, "left": None, "right": None}
    return {**about, **empty, **more}


def test_a_voter_sees_the_whole_text_its_prompt_and_the_labels() -> None:
    before = [{"subject": "s-0", "kind": "prompt", "text": "why?\nhow?"}]
    said = printed(queue._leases({"leases": [lease(conversation=before)], "nothing": None}))
    assert LONG in said
    assert "s-1: judge, good, bad" in said
    assert "[prompt] why?\nhow?" in said.replace(" \n", "\n")


def test_a_comparison_shows_both_sides() -> None:
    sides = {"left": {"subject": "a", "text": "one"}, "right": {"subject": "b", "text": LONG}}
    asked = lease(task="compare", labels=[], criteria=["harmless"], text=None, **sides)
    said = printed(queue._leases({"leases": [asked], "nothing": None}))
    assert "compare, left, right, tie; by criterion: harmless" in said
    assert "[left] one" in said
    assert f"[right] {LONG}" in said


def test_the_first_offset_of_a_partition_is_told() -> None:
    entry = {"offset": 0, "time": "t", "event": "SubmissionReceived", "by": None, "refused": None, "then": []}
    assert printed(explaining._history([entry])).splitlines()[1].split()[0] == "0"


def test_the_temperature_is_that_of_as_many_votes() -> None:
    about = {"model": "blend", "version": 2, "temperature_permille": 1_000, "temperature_per_vote_permille": 300}
    shown = {"votes": [{}, {}, {}], "scores_milli_nats": {"good": 1}, "weights": about}
    assert "temperature 1.6" in explaining._weights(shown)
