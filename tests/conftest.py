"""What every test may ask for. Nothing here stands in for the real part."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.brokers import one_broker

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that: tests of Ctrl-C would
# then send it to deaf processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A broker lives for seconds here, and would spend half of them on compiling itself well.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker for tests whose topics have names of their own."""
    yield from one_broker(tmp_path_factory)
