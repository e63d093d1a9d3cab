"""A queue: POST takes a message over and answers 202. It writes it first, unless ACKNOWLEDGE is `first`."""

import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    timeout = 2  # for a client that is connected and sends nothing: server_close() would wait for it for ever

    def do_POST(self):
        message = self.rfile.read(int(self.headers["Content-Length"]))
        if os.environ.get("ACKNOWLEDGE") == "first":
            buffer.append(message)  # and when SIGTERM comes, what lies here was acknowledged and is nowhere
        else:
            write([message])
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format, *arguments):
        pass


def write(messages):
    with lock, open("/data/messages", "ab") as file:
        file.writelines(message + b"\n" for message in messages)
        file.flush()
        os.fsync(file.fileno())


def write_the_buffer():
    while True:
        time.sleep(1)
        taken = buffer[:]
        write(taken)
        del buffer[: len(taken)]


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the messages that are being taken over


def on_sigterm(signum, frame):
    # shutdown() waits until serve_forever() has returned: called from here, it would wait for ever.
    threading.Thread(target=server.shutdown).start()


buffer, lock = [], threading.Lock()
threading.Thread(target=write_the_buffer, daemon=True).start()
server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, on_sigterm)
print("ready")
server.serve_forever()
server.server_close()
print("closed")
