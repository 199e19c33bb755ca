"""What every test may ask for. Nothing here stands in for the real part."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.beside import Beside, Done
from tests.brokers import one_broker

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that: tests of Ctrl-C would
# then send it to deaf processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A broker lives for seconds here, and would spend half of them on compiling itself well.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "beside(*arguments): looks at a command of Assay that ran beside the other tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("beside") is not None)


@pytest.fixture(scope="session", autouse=True)
def begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """The commands that selected tests are marked with, from the first test on."""
    with Beside() as beside:
        for item in request.session.items:
            if marker := item.get_closest_marker("beside"):
                beside.begin(item.nodeid, marker.args, tmp_path_factory.mktemp("beside"))
        yield beside


@pytest.fixture
def beside(request: pytest.FixtureRequest, begun: Beside) -> Done:
    """What became of the command that the test is marked with."""
    return begun.done(request.node.nodeid)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker for tests whose topics have names of their own."""
    yield from one_broker(tmp_path_factory)
