"""What listens to messages: a web hook and a mail server of this process."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def web_sink() -> Iterator[tuple[str, list[dict]]]:
    """Yield the address of a web hook and what is posted to it; /refuse is refused."""
    posted: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append(json.loads(content))
            self.send_response(403 if "refuse" in self.path else 200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    thread.join()
    server.server_close()


async def _take_mail(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mails: list[str]
) -> None:
    """Speak as much SMTP as it takes to be given a mail."""
    writer.write(b"220 sink\r\n")
    while line := (await reader.readline()).decode().strip():
        verb = line.split()[0].upper()
        if verb == "DATA":
            writer.write(b"354 go on\r\n")
            mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write(b"250 taken\r\n")
        elif verb == "QUIT":
            writer.write(b"221 bye\r\n")
            break
        else:
            writer.write(b"250 fine\r\n")
    await writer.drain()
    writer.close()


@pytest.fixture
def mail_sink() -> Iterator[tuple[int, list[str]]]:
    """Yield the port of a mail server and the mails that reach it."""
    mails: list[str] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(lambda r, w: _take_mail(r, w, mails), "127.0.0.1", 0)

    async def end(server: asyncio.Server) -> None:
        server.close()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(20)
    yield server.sockets[0].getsockname()[1], mails
    asyncio.run_coroutine_threadsafe(end(server), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
