"""A network that cannot be relied upon, before a server that can: a proxy that spoils answers."""

import http.client
import random
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# what may happen to a request, and how often where each is equally likely
FAULTS = ("error", "slow down", "reset", "lost", "cut", "short", "stall")
_REFUSALS = {
    "error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "slow down": (503, "SlowDown", "Please reduce your request rate."),
    "no access": (403, "AccessDenied", "Access Denied"),
}
# of one side only, or what the proxy says itself
_OWN_HEADERS = ("connection", "keep-alive", "transfer-encoding", "server", "date", "content-length")


class FlakyProxy:
    """A proxy on this machine, which spoils nothing until it is told to.

    Parameters
    ----------
    target : str
        URL of the server behind it.

    Attributes
    ----------
    odds : dict of str to float
        How likely each fault is, for each request.
    only : str
        Spoil only requests whose method and path hold this.
    most : int
        Spoil no more than so many.
    seen : Counter of str
        How many requests there were, and how often each fault befell one.
    """

    def __init__(self, target: str) -> None:
        self.odds: dict[str, float] = {}
        self.only = ""
        self.most = sys.maxsize
        self.seen = Counter[str]()
        self.host = urlsplit(target).netloc
        self.ended = threading.Event()
        self._dice = random.Random(0)
        self._one_at_a_time = threading.Lock()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spoilt(self) -> int:
        """How many requests were spoilt."""
        return self.seen.total() - self.seen["requests"]

    def seed(self, seed: int) -> None:
        """Begin a row of dice of its own."""
        self._dice = random.Random(seed)

    def draw(self, what: str) -> str:
        """Return what is to happen to a request; empty for nothing."""
        with self._one_at_a_time:
            self.seen["requests"] += 1
            if self.only not in what or self.spoilt >= self.most:
                return ""
            faults, odds = [*self.odds, ""], [*self.odds.values(), 1.0 - sum(self.odds.values())]
            fault = self._dice.choices(faults, odds)[0]
            self.seen.update([fault] * bool(fault))
            return fault

    @contextmanager
    def serving(self) -> Iterator["FlakyProxy"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def evenly(odds: float) -> dict[str, float]:
    """Return odds of any fault at all, each equally likely."""
    return dict.fromkeys(FAULTS, odds / len(FAULTS))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self) -> None:
        body = self._body()
        fault = self.server.proxy.draw(f"{self.command} {self.path}")
        if fault in _REFUSALS:
            self._refuse(*_REFUSALS[fault])
        elif fault == "reset":
            self._reset()
        else:
            self._pass_on(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            raise NotImplementedError("a body in chunks")
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _pass_on(self, body: bytes, fault: str) -> None:
        server = http.client.HTTPConnection(self.server.proxy.host, timeout=60)
        server.request(self.command, self.path, body, dict(self.headers.items()))
        answer = server.getresponse()
        content = answer.read()
        server.close()
        if fault == "lost":
            self._reset()
            return
        if fault == "stall":
            self._wait_until_given_up()
            self._reset()
            return
        self._relay(answer, content, fault)

    def _relay(self, answer: http.client.HTTPResponse, content: bytes, fault: str) -> None:
        sent = content[: len(content) // 2] if fault in ("cut", "short") else content
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OWN_HEADERS:
                self.send_header(name, value)
        said = len(sent) if fault == "short" else len(content)
        if self.command == "HEAD":
            said = int(answer.getheader("Content-Length", 0))
        self.send_header("Content-Length", str(said))
        self.end_headers()
        self.wfile.write(sent)
        if fault == "cut":
            self._reset()

    def _refuse(self, status: int, code: str, message: str) -> None:
        content = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _wait_until_given_up(self) -> None:
        """Wait until the client, or the test, has had enough."""
        self.connection.settimeout(0.1)
        while not self.server.proxy.ended.is_set() and self._is_there():
            continue

    def _is_there(self) -> bool:
        try:
            return bool(self.connection.recv(1))
        except TimeoutError:
            return True
        except OSError:
            return False

    def _reset(self) -> None:
        """Close at once: what was sent and not received is lost."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            # the connection is closed already
            return

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            # the client is gone
            return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # connections that wait to be accepted
    request_queue_size = 100

    def __init__(self, proxy: FlakyProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)
