"""Python's own HTTP server, saying on standard output what it believes to have been asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# A line at a time.
OUTPUT = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def chunked(self):
        body = b""
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            if size == 0:
                while self.rfile.readline().strip():
                    pass
                return body
            piece = self.rfile.read(size)
            body += piece
            if len(piece) < size:
                raise EOFError
            self.rfile.readline()

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.chunked()
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            raise EOFError
        return body

    def answer(self):
        seen = {
            "id": self.headers.get("X-Request-Id", ""),
            "method": self.command,
            "target": self.path,
            "whole": True,
        }
        try:
            seen["body"] = self.body().decode("latin-1")
        except (EOFError, ValueError, OSError):
            seen.update(body="", whole=False)
        with OUTPUT:
            print(json.dumps(seen), flush=True)
        if not seen["whole"]:
            self.close_connection = True
            return
        text = f"{self.command} {self.path}".encode("latin-1")
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
