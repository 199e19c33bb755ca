"""The end of a worker process: in time, and never with an acknowledgement of what was not handled."""

import logging
import os
import sys
import threading
from signal import Signals
from typing import NoReturn

import faust
import structlog

log = structlog.get_logger(__name__)

#: Faults that only a restart can cure. The supervisor restarts a worker that ends with it.
EXIT_FATAL = 70
#: What only other settings can cure.
EXIT_USAGE = 2
#: From the signal to the end, if finishing takes longer: whoever sent it waits 10 s.
STOP_SECONDS = 9.0


def end_process(error: BaseException) -> NoReturn:
    """End before anything is acknowledged that was not handled; Faust's own way out would wait for those."""
    log.error("worker stops", error=str(error) or repr(error), kind=type(error).__name__, hint=_HINT)
    leave(EXIT_FATAL)


def leave(code: int) -> NoReturn:
    """End at once: to take millions of objects apart would take seconds, and nobody needs their memory."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_HINT = "what was not acknowledged is handled after a restart"


class Worker(faust.Worker):
    """A Faust worker that is gone some seconds after the signal, whatever its brokers do."""

    def _schedule_shutdown(self, signal: Signals) -> None:
        if not self._signal_stop_time:
            log.info("stopping", signal=signal.name, at_most_seconds=STOP_SECONDS)
            late = threading.Timer(STOP_SECONDS, _out_of_time)
            late.daemon = True
            late.start()
        super()._schedule_shutdown(signal)

    async def _sentinel_task(self) -> None:
        """Faust waits here for a second, when all is done and left."""


def _out_of_time() -> None:
    log.error("could not finish in time", seconds=STOP_SECONDS, hint=_HINT)
    leave(EXIT_FATAL)
