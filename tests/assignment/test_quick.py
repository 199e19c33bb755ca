"""Whatever is asked of `POST /v1/queue/next`, the quick way and the application's own say the same."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from infra.assignment.ledger import NotReady
from infra.assignment.quick import answered_quickly
from infra.assignment.routes import Wish, queue_routes, taken
from infra.http.application import application
from tests.assignment.worlds import Served, received, world

JSON = {"content-type": "application/json"}
Said = tuple[int, str, Any]
#: Body, headers, and the status of the answer.
ASKED: list[tuple[bytes, dict[str, str], int]] = [
    (b'{"annotator": "anna"}', JSON, 200),
    (b'{"annotator": "anna", "count": 2, "kinds": ["prompt"], "slices": ["en/general/writing"]}', JSON, 200),
    (b'{"annotator": "anna", "targets": {"en/general/writing": 5}, "done": []}', JSON, 200),
    (b'{"annotator": "anna", "project": "other"}', JSON, 200),
    (b'{"annotator": "anna", "role": "editor"}', JSON, 200),
    (b'{"annotator": "anna"}', {"content-type": "application/json; charset=utf-8"}, 200),
    (b'{"annotator": "anna"}', {"content-type": "text/plain"}, 422),
    (b'{"annotator": "anna"}', {}, 422),
    (b'{"annotator": "anna", "count": 21}', JSON, 422),
    (b'{"annotator": "anna", "more": 1}', JSON, 422),
    (b'{"annotator": "not an id"}', JSON, 422),
    (b'{"annotator": "anna", "annotator": "ben"}', JSON, 200),
    (b'{"annotator": ', JSON, 422),
    (b"\xff", JSON, 400),
    (b"[]", JSON, 422),
    (b"", JSON, 422),
]


@pytest.fixture
async def desk() -> AsyncIterator[Served]:
    with world() as log:
        await log.tell(("s-1", received()), ("s-2", received()))
        async with log.desk() as served:
            await served.until(lambda state: len(state.subjects) == 2)
            yield served


async def test_both_ways_say_the_same(desk: Served) -> None:
    plain, quick = application([queue_routes(desk.desk, {})], desk.desk.report), Counted(desk)
    for body, headers, status in ASKED:
        one, other = await _said(plain, body, headers), await _said(quick.app, body, headers)
        assert one == other
        assert one[0] == status, body
    assert quick.answered == sum(status == 200 for *_, status in ASKED) - 1  # of which one names a character set


class Counted:
    """An application with the quick way, which counts what goes that way."""

    def __init__(self, desk: Served) -> None:
        self.answered = 0
        self._take = partial(taken, desk.desk, {})
        self.app = application([queue_routes(desk.desk, {})], desk.desk.report)
        answered_quickly(self.app, self._answer)

    async def _answer(self, wish: Wish) -> bytes:
        body = await self._take(wish)
        self.answered += 1
        return body


async def _said(app: Any, body: bytes, headers: dict[str, str]) -> Said:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk") as client:
        answer = await client.post("/v1/queue/next", content=body, headers=headers)
    return answer.status_code, answer.headers["content-type"], answer.json()


async def test_a_desk_that_is_not_ready_says_so_in_the_applications_words(desk: Served) -> None:
    async def refused(wish: Wish) -> bytes:
        raise NotReady

    app = application([queue_routes(desk.desk, {})], desk.desk.report)
    answered_quickly(app, refused)
    desk.desk.ready.clear()
    status, kind, said = await _said(app, b'{"annotator": "anna"}', JSON)
    assert (status, kind, said["code"]) == (503, "application/problem+json", "catching_up")
