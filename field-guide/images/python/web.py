#!/usr/bin/python3
"""A server whose /slow takes 2 s. How it stops is its argument: in-handler, in-thread, drops, drains."""

import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOW = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    timeout = 2  # s for a client to ask: what joins the threads would wait for one that says nothing

    def do_GET(self):
        if self.path.startswith("/slow"):
            time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = HOW == "drops"


server = Server(("", 8000), Handler)


def in_handler(number, frame):
    server.shutdown()  # waits for the loop that this very thread has interrupted


def in_thread(number, frame):
    threading.Thread(target=server.shutdown).start()


signal.signal(signal.SIGTERM, in_handler if HOW == "in-handler" else in_thread)
print("ready", flush=True)
server.serve_forever()
if HOW != "drops":
    server.server_close()  # joins the threads that still answer
