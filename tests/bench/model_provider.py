"""A provider of models for the benchmarks: `python -m tests.bench.model_provider PORT` answers every chat alike."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

READY_PATH = "/ready"
_numbers = count()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "London"}}
        usage = {"prompt_tokens": 14, "completion_tokens": 7, "total_tokens": 21}
        body = {"id": f"chatcmpl-{next(_numbers)}", "object": "chat.completion", "created": 1, "model": "gpt-5.4-mini"}
        self._answer(json.dumps({**body, "choices": [choice], "usage": usage}).encode())

    def _answer(self, content: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.wfile.write(head.encode() + content)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
