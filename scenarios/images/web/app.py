"""A web server that stops accepting, finishes the requests that run, and leaves. GET /slow takes 2 s."""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")


class Server(ThreadingHTTPServer):
    daemon_threads = os.environ.get("ON_SIGTERM") == "leave"  # server_close() waits for the requests that run


def on_sigterm(signum, frame):
    print("got SIGTERM")
    if os.environ.get("ON_SIGTERM") == "leave":  # lesson 22
        sys.exit(0)
    # shutdown() waits until serve_forever() has returned: called from here, it would wait for ever.
    threading.Thread(target=server.shutdown).start()


server = Server(("", int(os.environ.get("PORT", "8000"))), Handler)
signal.signal(signal.SIGTERM, on_sigterm)
print("ready")
server.serve_forever()
server.server_close()
print("drained")
