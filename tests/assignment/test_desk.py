"""A desk on a log: what it grants stands there, survives it, and is worth nothing once another desk was opened."""

import asyncio
from collections.abc import Iterator

import pytest

from infra.assignment.desk import GRACE_MS, Fenced
from infra.assignment.ledger import NotReady
from schemas import events as e
from schemas.words import MAX_VERSION
from streams.assignment import Ask
from tests.assignment.worlds import World, applied, enrolled, golden, reached, received, requested, vote, world

LEASE_SECONDS = 900


@pytest.fixture
def log() -> Iterator[World]:
    with world() as made:
        yield made


async def test_two_people_get_it_and_a_third_does_not(log: World) -> None:
    await log.tell(("s-1", received()))
    async with log.desk() as desk:
        await desk.until(lambda state: "s-1" in state.subjects)
        got = [await desk.one(name) for name in ("wendy", "anna", "ben", "chloe")]
    assert got == ["nothing_for_you", "s-1", "s-1", "nothing_open"]


async def test_asking_again_gives_the_same_lease(log: World) -> None:
    await log.tell(("s-1", received()), ("s-2", received()))
    async with log.desk() as desk:
        answers = await asyncio.gather(*(desk.next("anna") for _ in range(8)))
        two = await desk.next("anna", count=2)
    assert len({str(answer) for answer in answers}) == 1
    assert two["leases"][0] == answers[0]["leases"][0]
    assert len({lease["subject"] for lease in two["leases"]}) == 2


async def test_work_on_its_way_is_not_given_again_and_keeps_its_place(log: World) -> None:
    await log.tell(("s-1", received()), ("s-2", received()), ("p", applied(overlap_min=2)))
    async with log.desk() as desk:
        first = (await desk.next("anna"))["leases"][0]
        second = await desk.next("anna", done=[first["lease"]])
        assert second["leases"][0]["subject"] != first["subject"]
        assert [await desk.one(name) for name in ("ben", "ben", "chloe")].count(first["subject"]) <= 2
        assert len(desk.desk.state.subjects[first["subject"]].leases) <= 2


async def test_a_vote_ends_the_lease_and_a_verdict_what_is_not_wanted_any_more(log: World) -> None:
    await log.tell(("s-1", received()))
    async with log.desk() as desk:
        await desk.next("anna")
        await desk.next("ben")
        await log.tell(("s-1", vote("anna")))
        await desk.until(lambda state: len(state.leases) == 1)
        await log.tell(("s-1", reached("approved")))
        await desk.until(lambda state: not state.leases)
        await asyncio.sleep(0.05)
    ended = [said.data for said in await log.assignments() if isinstance(said.data, e.LeaseEnded)]
    assert {(said.annotator, said.reason) for said in ended} == {("anna", "done"), ("ben", "moot")}


async def test_a_lease_expires_by_the_clock_and_a_released_one_is_not_offered_to_the_same_person(log: World) -> None:
    await log.tell(("s-1", received()))
    async with log.desk() as desk:
        lease = (await desk.next("anna"))["leases"][0]["lease"]
        assert (await desk.client.post(f"/v1/queue/{lease}/release")).status_code == 200
        assert await desk.one("anna") == "nothing_for_you"
        await desk.next("ben")
        log.clock.advance(LEASE_SECONDS + GRACE_MS / 1_000 + 1)
        await desk.until(lambda state: not state.leases)
        assert await desk.one("ben") == "s-1"
    reasons = [said.data.reason for said in await log.assignments() if isinstance(said.data, e.LeaseEnded)]
    assert reasons == ["released", "expired"]


async def test_leases_come_back_from_the_log(log: World) -> None:
    await log.tell(("s-1", received()), ("s-2", received()))
    async with log.desk() as desk:
        before = await desk.next("anna")
    async with log.desk() as desk:
        assert (await desk.next("anna"))["leases"] == before["leases"]
        assert desk.desk.have == desk.desk.need > 3  # submissions, a desk's opening, a lease
        log.clock.advance(LEASE_SECONDS + GRACE_MS / 1_000 + 1)
        await desk.until(lambda state: not state.leases)


async def test_a_later_desk_ends_the_earlier_one_and_knows_all_that_it_granted(log: World) -> None:
    await log.tell(*((f"s-{number}", received()) for number in range(30)))
    async with log.desk() as old:
        for number in range(10):
            await old.next(f"early-{number}")
        async with log.desk() as new:
            with pytest.raises(Fenced):
                await old.running
            with pytest.raises(NotReady):
                await old.desk.next(Ask("late"))
            assert set(new.desk.state.leases) == set(old.desk.state.leases)


async def test_a_grant_behind_a_later_desks_opening_is_never_answered_and_never_counts(log: World) -> None:
    """The zombie: it grants while the other's opening is in the log, and it has not read that far."""
    await log.tell(*((f"s-{number}", received()) for number in range(30)))
    async with log.desk() as old:
        reading, old.desk._read = old.desk._read, lambda topic, raw: None  # its fetches are stuck
        async with log.desk() as new:
            waiting = asyncio.create_task(old.next("late"))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            old.desk._read = reading
            assert not new.desk.state.leases
            waiting.cancel()
    granted = [said for said in await log.assignments() if isinstance(said.data, e.LeaseGranted)]
    assert len(granted) == 1


async def test_of_two_desks_opened_at_once_one_serves(log: World) -> None:
    await log.tell(("s-1", received()))
    async with log.desk() as one, log.desk() as other:
        done, _ = await asyncio.wait([one.running, other.running], return_when=asyncio.FIRST_COMPLETED, timeout=20)
        assert len(done) == 1
        left = other if one.running in done else one
        assert await left.one("anna") == "s-1"


async def test_an_editor_gets_what_was_escalated_then_what_was_rejected_with_a_reason(log: World) -> None:
    await log.tell(*((name, received()) for name in ("plain", "told", "unclear")))
    await log.tell(("told", vote("anna", label="bad", reason="It rhymes badly.")), ("told", reached("rejected")))
    await log.tell(("plain", reached("rejected")), ("unclear", reached("escalated")), ("ed", enrolled(edits=True)))
    async with log.desk() as desk:
        got = [lease["subject"] for lease in (await desk.next("ed", role="editor", count=3))["leases"]]
        assert got == ["unclear", "told"]
        assert await desk.one("anna", role="editor") == "not_an_editor"
        await log.tell(("unclear", e.SubmissionEdited(revision=2, editor="ed", text="Better.")))
        await desk.until(lambda state: len(state.leases) == 1)
        assert await desk.one("ed") == "nothing_for_you"
        assert await desk.one("anna") == "unclear"


async def test_an_editor_of_one_project_is_not_told_of_others_that_they_do_not_edit(log: World) -> None:
    elsewhere = e.SubmissionReceived(**{**received().model_dump(), "project": "other"})
    await log.tell(("s-1", received()), ("s-2", elsewhere), ("ed", enrolled(edits=True)))
    async with log.desk() as desk:
        await desk.until(lambda state: len(state.subjects) == 2)
        assert await desk.one("ed", role="editor") == "nothing_open"
        assert await desk.one("anna", role="editor") == "not_an_editor"


async def test_completions_wait_for_their_prompt_and_comparisons_for_both_completions(log: World) -> None:
    offered = e.ComparisonOffered(project="p", slice="en/general/writing", prompt="q", left="a", right="b")
    await log.tell(("q", received("wendy")), ("a", received("walt", prompt="q")))
    await log.tell(("b", received("will", prompt="q")), ("c", offered))
    async with log.desk() as desk:
        assert await desk.one("anna") == "q"
        await log.tell(("q", reached("approved")))
        await desk.until(lambda state: state.subjects["q"].approved)
        said = await desk.next("anna", count=3)
        assert sorted(lease["subject"] for lease in said["leases"]) == ["a", "b"]
        assert [turn["text"] for turn in said["leases"][0]["conversation"]] == ["A text."]
        await log.tell(("a", reached("approved")), ("b", reached("approved")))
        await desk.until(lambda state: state.subjects["a"].approved and state.subjects["b"].approved)
        assert await desk.one("walt") == "nothing_for_you"
        said = await desk.next("ben", kinds=["comparison"])
        assert (said["leases"][0]["task"], said["leases"][0]["left"]["text"]) == ("compare", "A text.")


async def test_no_answer_tells_a_control_task_from_another() -> None:
    """The same text under the same name, golden or not: every answer is the same but for ids and times."""
    answers = []
    for name in ("s-1", "s-2"):
        with world() as other:
            await other.tell(("p", applied(control_share_permille=500)), ("s-1", received()), ("s-2", received()))
            await other.tell((name, golden()))
            async with other.desk() as desk:
                await desk.until(lambda state, name=name: state.subjects[name].golden)
                answers.append(await _all_answers(desk, other))
    assert answers[0] == answers[1]


async def _all_answers(desk, other) -> list[str]:  # type: ignore[no-untyped-def]
    seen: dict[str, list[object]] = {}
    for number in range(40):
        said = await desk.next(f"v-{number}")
        for lease in said["leases"]:
            released = await desk.client.post(f"/v1/queue/{lease['lease']}/release")
            again = await desk.client.post(f"/v1/queue/{lease['lease']}/release")
            told = {key: value for key, value in lease.items() if key not in ("lease", "until")}
            kept = [told, said["nothing"], released.status_code, sorted(released.json()), again.status_code, again.json()]
            assert seen.setdefault(lease["subject"], kept) == kept
    assert set(seen) == {"s-1", "s-2"}  # the control task was among them
    for kept in seen.values():
        kept[0].pop("subject")  # type: ignore[attr-defined]
    return sorted(str(kept) for kept in seen.values())


async def test_nothing_told_over_http_foretells_a_control_task(log: World) -> None:
    """With its id, of which lease ids are drawn, anybody could tell."""
    await log.tell(("s-1", received()))
    async with log.desk() as desk:
        told = [(await desk.client.get(path)).text for path in ("/readyz?verbose", "/v1/queue", "/openapi.json")]
        told.append(str(await desk.next("anna")))
        assert desk.desk.id not in "".join(told)


async def test_a_forged_last_generation_locks_no_desk_out(log: World) -> None:
    await log.tell(("s-1", received()), ("desk", e.DeskOpened(generation=MAX_VERSION)))
    async with log.desk() as one:
        assert await one.one("anna") == "s-1"
        async with log.desk() as other:
            with pytest.raises(Fenced):
                await one.running
            assert await other.one("ben") == "s-1"


async def test_requests_that_are_wrong_are_answered_as_problems(log: World) -> None:
    async with log.desk() as desk:
        wrong = await desk.client.post("/v1/queue/next", json={"annotator": "not an id", "count": 21})
        absent = await desk.client.post("/v1/queue/019cebb0-1111-7e41-bb8a-1d1e94e6d300/release")
        unknown = await desk.client.get("/v1/nothing")
        ready = await desk.client.get("/readyz?verbose")
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["pointer"]) == (422, "invalid", "/annotator")
    assert (absent.status_code, absent.json()["code"]) == (404, "no_such_lease")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert {said.headers["content-type"] for said in (wrong, absent, unknown)} == {"application/problem+json"}
    assert ready.json()["state"] == "ready"


async def test_before_it_has_caught_up_it_says_when_to_ask_again(log: World) -> None:
    async with log.desk() as desk:
        desk.desk.ready.clear()
        answers = [await desk.client.post("/v1/queue/next", json={"annotator": "anna"}), await desk.client.get("/v1/queue")]
        answers.append(await desk.client.get("/readyz"))
        desk.desk.ready.set()
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}


async def test_the_overview_is_for_whoever_has_the_token_where_there_is_one(log: World) -> None:
    async with log.desk(operator_token="s3cret") as desk:
        asked = [await desk.client.get("/v1/queue", headers=one) for one in ({}, {"Authorization": "Bearer s3cre"})]
        told = await desk.client.get("/v1/queue", headers={"Authorization": "Bearer s3cret"})
    assert [(one.status_code, one.json()["code"]) for one in asked] == [(403, "for_operators")] * 2
    assert told.status_code == 200


async def test_the_overview_counts_what_waits(log: World) -> None:
    await log.tell(("s-1", received()), ("s-2", received()), ("s-2", vote("anna")), ("s-2", vote("ben")), ("s-2", requested(2)))
    async with log.desk() as desk:
        await desk.until(lambda state: "s-2" in state.subjects and state.subjects["s-2"].request)
        (row,) = (await desk.client.get("/v1/queue")).json()["queues"]
    assert (row["waiting"], row["want_1"], row["want_2"], row["kind"]) == (2, 1, 1, "prompt")
