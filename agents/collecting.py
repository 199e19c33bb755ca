"""The garbage collector, for processes whose memory is millions of objects without cycles."""

import gc


def spare_the_collector() -> None:
    """Call once a process has started: what is there by now is never looked at again, and what comes seldom is.

    By default it looks after every 700 new objects: that doubles the time of a sink, which makes fifty thousand rows at
    once, and a worker's state is millions of long-lived rows.
    """
    gc.freeze()
    gc.set_threshold(500_000, 20, 100)
