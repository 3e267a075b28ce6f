"""Servers that misbehave: one before a real InfluxDB, and one that never answers."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections import deque
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy:
    """Stands before a real server; gives the answers it was told, and passes on the rest."""

    def __init__(self, address):
        proxy = self
        self.answers = deque()
        self.query_answers = deque()
        self.writes = 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                writing = self.path.startswith("/api/v2/write")
                proxy.writes += writing
                told = proxy.answers if writing else proxy.query_answers
                if told:
                    status, headers, text = told.popleft()
                else:
                    request = urllib.request.Request(address.url + self.path, body)
                    for name in ("Authorization", "Content-Type"):
                        request.add_header(name, self.headers[name])
                    try:
                        with urllib.request.urlopen(request, timeout=30) as answer:
                            status, headers, text = answer.status, {}, answer.read()
                    except urllib.error.HTTPError as error:
                        status, headers, text = error.code, {}, error.read()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(text)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.address = replace(address, url=f"http://127.0.0.1:{self._server.server_port}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Silent:
    """A server that takes connections and never answers."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = threading.Event()
        self._held = []
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._held.append(connection)
            self.asked.set()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._held:
            connection.close()
