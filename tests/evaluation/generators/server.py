"""A small server with OpenAI's protocol, whose faults are scripted by the prompt."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Served(ThreadingHTTPServer):
    """Answers `re: PROMPT`; a prompt that begins with a fault (`429 ...`) has it on its first attempt.

    Attributes:
        asked: Body of every request for an answer, in order.
        keys: The `Authorization` headers that came.
        listed: What `/v1/models` lists.
        version: What `/version` tells; None: nothing.
        choice: Fields of the answer's choice.
        status: By prompt, the status of every attempt.
        answer: Text of the answer to a prompt.
        most: Largest number of requests at once.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.listed: list[dict[str, Any]] = [{"id": "tiny", "root": "/models/tiny"}]
        self.version: str | None = "0.12.0"
        self.choice: dict[str, Any] = {"finish_reason": "stop"}
        self.status: dict[str, int] = {}
        self.answer: Callable[[str], str] = lambda prompt: f"re: {prompt}"
        self.attempts, self.lock = Counter[str](), threading.Lock()
        self.slow, self.now, self.most = 0.0, 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Served
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"object": "model", **row} for row in self.server.listed]})
        elif self.path == "/version" and self.server.version is not None:
            self.reply(200, {"version": self.server.version})
        else:
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.path.endswith("/chat/completions")
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.add(self.headers["Authorization"])
            self.server.attempts[prompt] += 1
            first = self.server.attempts[prompt] == 1
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        time.sleep(self.server.slow)
        with self.server.lock:
            self.server.now -= 1
        fault = self.server.status.get(prompt) or (prompt.split()[0] if first else None)
        if fault == "hang":
            time.sleep(1)
        elif fault == "cut":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"choi')
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif str(fault).isdigit():
            self.reply(int(fault), {"error": {"message": "scripted\nfault"}}, {"retry-after-ms": "5"})
        else:
            answer = self.server.answer(prompt)
            text = {"message": {"role": "assistant", "content": answer}} if chat else {"text": answer}
            choice = {"index": 0, **text, **self.server.choice}
            self.reply(200, {"id": "1", "choices": [choice], "usage": {"completion_tokens": 7}})

    def reply(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving() -> Iterator[Served]:
    """Run a server in a thread."""
    with Served() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
