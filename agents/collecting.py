"""The garbage collector, for processes whose memory is millions of objects without cycles."""

import gc


def spare_the_collector() -> None:
    """Call once a process has started. Every object is looked at once, when it is one of half a million new ones.

    By default the collector looks after every 700 new objects, and again and again at those that stay: that doubles the
    time of a sink, which makes fifty thousand rows at once, and a worker's state is millions of long-lived rows.
    """
    gc.freeze()
    gc.set_threshold(500_000, 1_000_000, 1_000_000)
