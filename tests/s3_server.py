"""Moto's S3 server, with conditional puts that are atomic, as S3's own are: ``PORT``."""

import sys
from collections.abc import Iterable
from threading import Lock
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple


class OneConditionalPutAtATime:
    """Moto looks for the key first and puts it later: two at once would both find nothing."""

    def __init__(self, application: DomainDispatcherApplication) -> None:
        self._application, self._lock = application, Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        if environ["REQUEST_METHOD"] == "PUT":
            with self._lock:
                return self._application(environ, start_response)
        return self._application(environ, start_response)


if __name__ == "__main__":
    run_simple(
        "127.0.0.1",
        int(sys.argv[1]),
        OneConditionalPutAtATime(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=MotoRequestHandler,
    )
