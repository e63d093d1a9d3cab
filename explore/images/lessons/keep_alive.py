"""Waits for every connection before it leaves, also for one on which nobody will ask anything any more."""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CURED = "CURED" in os.environ
stopping = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 1  # for the first request; socketserver sets it on the connection

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        if CURED and stopping.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"ok\n")
        if not CURED:
            self.connection.settimeout(None)  # a client that is known may take its time


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the threads, one for each connection


def on_sigterm(signum, frame):
    stopping.set()
    threading.Thread(target=server.shutdown).start()


server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, on_sigterm)
print("ready")
server.serve_forever(poll_interval=0.05)
server.server_close()
