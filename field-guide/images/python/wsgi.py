"""A WSGI application whose /slow takes 2 s."""

import time


def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/slow"):
        time.sleep(2)
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\n"]
