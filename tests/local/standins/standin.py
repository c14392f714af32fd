"""A service as the supervisor sees one: it serves on the socket it is handed, says it is ready, and stops when told."""

import json
import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({name: value for name, value in os.environ.items() if name.isupper()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


def serve(prefix: str) -> None:
    """Every answer is this process's environment. With STANDIN_<PREFIX>_EXIT set it ends with that code instead."""
    if code := os.environ.get(f"{prefix}_STANDIN_EXIT"):
        sys.exit(f"stand-in told to fail ({code})")
    listener = socket.socket(fileno=int(os.environ[f"{prefix}_FD"]))
    server = HTTPServer(listener.getsockname(), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.server_activate()
    sys.stdout.write(json.dumps({"level": "warning", "event": f"{prefix} stand-in serves"}) + "\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.05)
