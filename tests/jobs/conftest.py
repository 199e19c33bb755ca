"""The broker of the snapshots' log."""

from collections.abc import Iterator

import pytest

from tests.brokers import one_broker


@pytest.fixture(scope="package")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for this folder's tests."""
    yield from one_broker(tmp_path_factory)
