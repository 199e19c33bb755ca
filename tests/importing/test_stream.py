"""A blocking source in batches: nothing is lost, reordered or held back, and its error arrives last."""

import queue
from collections.abc import Iterator

import pytest

from infra.importing.stream import MAX_BATCH, MAX_WAITING, Feed


async def test_all_items_in_order() -> None:
    batches = [batch async for batch in Feed(iter(range(3 * MAX_WAITING))).batches()]
    assert [item for batch in batches for item in batch] == list(range(3 * MAX_WAITING))
    assert all(0 < len(batch) <= MAX_BATCH for batch in batches)


async def test_nothing_comes_of_nothing() -> None:
    assert [batch async for batch in Feed(iter(())).batches()] == []


async def test_an_item_comes_while_the_next_is_awaited() -> None:
    source: queue.Queue[int] = queue.Queue()
    source.put(0)
    seen = []
    async for batch in Feed(iter(source.get, 3)).batches():
        seen += batch
        source.put(len(seen))
    assert seen == [0, 1, 2]


async def test_an_error_comes_after_what_was_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    batches = Feed(failing()).batches()
    assert await anext(batches) == [1]
    with pytest.raises(OSError, match="gone"):
        await anext(batches)
