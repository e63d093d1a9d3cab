"""Answers `ok` to every line."""

import signal
import socketserver
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for _ in self.rfile:
            self.wfile.write(b"ok\n")


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = socketserver.ThreadingTCPServer(("", 5000), Handler)
server.daemon_threads = True
server.serve_forever(poll_interval=0.05)
