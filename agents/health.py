"""`/livez` and `/readyz` of a worker, answered from a thread of its own: a busy event loop is no silence."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Report = Callable[[], dict[str, Any]]


class Health:
    """Serves what `report` says. It must be safe to call from another thread.

    `/livez` is 200 while `report()["alive"]`, `/readyz` while `report()["state"] == "ready"`, and 503 otherwise. The
    body is one word, and with `?verbose` the whole report as JSON.
    """

    def __init__(self, host: str, port: int, report: Report) -> None:
        self._place = (host, port)
        self._report = report
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> int:
        """Begin to answer; returns the port. Raises OSError where it is taken."""
        server = self._server = ThreadingHTTPServer(self._place, _handler(self._report))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        return server.server_port

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def answer(path: str, report: Report) -> tuple[HTTPStatus, str]:
    """Status and body for a path."""
    url = urlsplit(path)
    if url.path not in ("/livez", "/readyz"):
        return HTTPStatus.NOT_FOUND, "there are /livez and /readyz, both with ?verbose"
    said = report()
    good, word = (said["alive"], "alive") if url.path == "/livez" else (said["state"] == "ready", said["state"])
    body = json.dumps(said, indent=2) if "verbose" in parse_qs(url.query, keep_blank_values=True) else word
    if not good and body == "alive":
        body = "stuck"
    return (HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE), body


def _handler(report: Report) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, report)
            said = body.encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if body.startswith("{") else "text/plain")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds."""

    return Handler
