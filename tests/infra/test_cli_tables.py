"""What the command line prints for people: whole texts, first offsets, the temperature that counts."""

import io

from rich.console import Console, RenderableType

from infra.cli import explaining, policies, queue, whatif
from infra.cli.output import table
from schemas.policy import THRESHOLDS, Policy

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


def narrow(what: RenderableType, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_columns_move_together_before_a_cell_is_folded() -> None:
    shown = table(("topic", "#expected", "equal"), [("assay.verdicts.v1", 12, "yes")])
    assert narrow(shown, 40) == ["topic              expected  equal", "assay.verdicts.v1        12  yes"]
    assert narrow(shown, 32) == ["topic             expected equal", "assay.verdicts.v1       12 yes"]
    assert narrow(shown, 31)[1:] == ["assay.verdicts.v       12 yes", "1"]


def test_a_title_is_not_folded_into_a_narrow_table() -> None:
    shown = table(("a", "b"), [(1, 2)], title="version 4: predicted against actual")
    assert narrow(shown, 60) == ["version 4: predicted against actual", "a  b", "1  2"]


def test_of_many_scopes_what_differs_is_shown() -> None:
    policy = Policy().model_dump(mode="json")
    scopes = [{"project": name, "slice": None, "version": 1, "policy": policy} for name in "pq"]
    scopes[0]["policy"] = policy | {"overlap_max": 7}
    said = narrow(policies._policies(scopes), 100)
    assert said[:2] == ["threshold    default  p v1  q v1", "overlap_max        5     7     5"]
    assert f"the other {len(THRESHOLDS) - 1} are as by default" in said[-1]


def test_what_is_undetermined_has_no_reason_as_if_it_were_not() -> None:
    one = {"unknown": "votes", "why_new": "Approved under policy 4: 2 of 2."}
    told = "Open: would have asked for votes that nobody was asked for. By what was cast: Approved under policy 4: 2 of 2."
    assert whatif._why_then(one) == told
    assert whatif._why_then(one | {"unknown": ""}) == "Approved under policy 4: 2 of 2."


def test_a_sweep_fits_a_terminal() -> None:
    ends = {"approved": [0.4691, 0.5149], "rejected": [0.4727, 0.5185], "escalated": [0.0, 0.0458], "waiting": [0.0124, 0.0582]}
    point = {**ends, "value": 880, "undetermined": 0.0458, "votes_per_subject": [9.596, 10.759], "cost": [0.0, 0.0]}
    point |= {"golden_accuracy": 0.925, "golden_interval": [0.918, 0.933], "yield": [2_345, 2_574]}
    said = narrow(whatif._points({"threshold": "t", "events": 9, "in_force": 880, "points": [point]}), 100)
    row = "880 * 46.9-51.5 47.3-51.8   0.0-4.6 1.2-5.8          4.6 9.60-10.76 0.925 [0.918-0.933] 2,345-2,574"
    assert said[-1].split() == row.split()
    assert len(said) == 3
