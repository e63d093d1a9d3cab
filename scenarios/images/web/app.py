"""A web server that stops accepting, finishes the requests that run, and leaves. GET /slow takes 2 s."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept: a client may ask again

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        if stopping.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"ok\n")


class Server(ThreadingHTTPServer):
    daemon_threads = os.environ.get("ON_SIGTERM") == "leave"  # server_close() waits for a thread for each connection
    connections = set()

    def get_request(self):
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, connection):
        self.connections.discard(connection)
        super().shutdown_request(connection)

    def hear_no_more(self):
        """Ends the wait for a next request, also of a client that keeps its connection and says nothing."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):  # closed meanwhile
                connection.shutdown(socket.SHUT_RD)


def on_sigterm(signum, frame):
    print("got SIGTERM")
    if os.environ.get("ON_SIGTERM") == "leave":  # lesson 22
        sys.exit(0)
    stopping.set()
    # shutdown() waits until serve_forever() has returned: called from here, it would wait for ever.
    threading.Thread(target=server.shutdown).start()


stopping = threading.Event()
server = Server(("", int(os.environ.get("PORT", "8000"))), Handler)
signal.signal(signal.SIGTERM, on_sigterm)
print("ready")
server.serve_forever()
server.hear_no_more()
server.server_close()
print("drained")
