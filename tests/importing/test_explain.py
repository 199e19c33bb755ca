"""assay explain on a real broker: from the log alone, for submissions and for people."""

import asyncio

import pytest
from httpx import ASGITransport, AsyncClient

from agents.publishing import fact_headers, partition_of
from infra.http.application import application
from infra.http.explanations import explanation_routes
from infra.importing.publish import publishing
from schemas.topics import EVENTS, JUDGEMENTS
from streams.projection import facts
from streams.review import REVIEW
from tests.importing.conftest import PARTITIONS, Assay, Call
from tests.streams.histories import Action, event_bytes, records

HISTORY: list[Action] = [
    ("policy", 1, 2, 900, 0),
    ("receive", "s-1", "en/reviews/sentiment"),
    ("receive", "s-2", "en/reviews/sentiment"),
    ("vote", "s-1", "anna", "good", 1),
    ("golden", "s-1", 1, "bad"),
    ("vote", "s-2", "anna", "bad", 1),
    ("vote", "s-1", "ben", "good", 1),
]


async def _written(kafka: str) -> None:
    async with publishing(kafka) as publisher:
        for number, action in enumerate(HISTORY):
            partitions = range(PARTITIONS) if action[0] == "policy" else [partition_of(str(action[1]), PARTITIONS)]
            record = records(HISTORY[: number + 1])[-1]
            for partition in partitions:
                headers, key = fact_headers(record.event.id, record.event.type), record.event.subject.encode()
                publisher.add((EVENTS.name, partition), key, event_bytes(action, number), record.time_ms, headers)
        state = REVIEW.empty()
        for record in records(HISTORY):
            state, effects, _ = REVIEW.apply(state, record)
            for fact in facts(REVIEW, record, effects):
                if fact.topic == JUDGEMENTS.name:
                    place = (JUDGEMENTS.name, partition_of(fact.key, PARTITIONS))
                    publisher.add(place, fact.key.encode(), fact.value, record.time_ms, fact_headers(fact.id, fact.type))


@pytest.fixture(scope="module")
def told(topics: str) -> str:
    asyncio.run(_written(topics))
    return topics


def test_a_submission_is_explained_in_words_and_as_json(told: str, assay: Assay) -> None:
    found = assay("explain", "s-1", "--json").json
    assert (found["state"], found["reproduced"]) == ("approved", True)
    said = found["decision"]["account"]
    assert [(vote["voter"], vote["label"]) for vote in said["votes"]] == [("anna", "good"), ("ben", "good")]
    text = assay("explain", "s-1").out
    assert "2 of 2 say good, probability 0.941 >= 0.900" in text
    assert "decided again from this explanation: the same" in text
    assert "GoldenAnswerSet" not in text + str(found)


def test_a_submission_is_explained_as_it_once_stood(told: str, assay: Assay) -> None:
    last = max(vote["offset"] for vote in assay("explain", "s-1", "--json").json["decision"]["account"]["votes"])
    assert assay("explain", "s-1", "--until", last, "--json").json["state"] == "waiting"


def test_a_person_is_explained(told: str, assay: Assay) -> None:
    found = assay("explain", "anna", "--json").json
    assert found["projects"][0]["disagreement"]["total"] == 1
    assert found["projects"][0]["words"] == ["Nothing is held against this person."]
    assert "anna, review in project p: active" in assay("explain", "anna").out


def test_nothing_of_that_name_is_an_error_with_a_hint(told: str, assay: Assay) -> None:
    missing = assay("explain", "nobody")
    assert (missing.code, "case-sensitive" in missing.err) == (2, True)
    assert assay("explain", "s-1", "--as", "annotator").code == 2


async def test_the_same_over_http(told: str, assay_in_thread: Call) -> None:
    app = application([explanation_routes(told)], lambda: {"state": "ready"})
    async with AsyncClient(transport=ASGITransport(app), base_url="http://assay") as client:
        answers = [await client.get(f"/v1/{path}/explanation") for path in ("submissions/s-1", "annotators/anna")]
        missing = await client.get("/v1/submissions/nobody/explanation")
    said = [await assay_in_thread("explain", name, "--json") for name in ("s-1", "anna")]
    assert [answer.json() for answer in answers] == [one.json for one in said]
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_submission")
