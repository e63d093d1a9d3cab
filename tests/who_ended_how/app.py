"""A program with a handler for SIGTERM, one helper or job of a kind, and an orderly end. `app.py KIND`."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time

asked: list[int] = []
"""The signals so far. With a threading.Event, a handler that a second signal interrupts waits for its own lock."""
kind = sys.argv[1]
DEFAULT = [sys.executable, "-c"]
JOB = ["sh", "-c", "sleep 4; echo job finished"]


def ready() -> None:
    print("ready", flush=True)
    wait()


def wait() -> None:
    while not asked:
        time.sleep(0.05)


def reset() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def worker() -> None:
    """One of several that handle the signal, as of a web server."""
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    wait()
    time.sleep(0.3)
    os._exit(0)


if kind == "nohandler":
    print("ready", flush=True)
    signal.pause()
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
if kind == "idle":
    ready()
elif kind == "threads":
    threading.Thread(target=wait).start()
    ready()
elif kind == "zombie":
    gone = subprocess.Popen(["true"])
    time.sleep(0.2)
    ready()
elif kind in {"cat", "tail", "infinity", "loop", "pause", "accept", "epoll", "terminate", "ended"}:
    listening = "import socket; s = socket.create_server(('', 9000)); print('up', flush=True); s.accept()"
    commands = {
        "cat": ["cat"],
        "tail": ["tail", "-f", "/dev/null"],
        "infinity": ["sleep", "infinity"],
        "loop": ["sh", "-c", "while :; do sleep 1; done"],
        "pause": [*DEFAULT, "import signal; print('up', flush=True); signal.pause()"],
        "accept": [*DEFAULT, listening],
        "epoll": [*DEFAULT, "import select; print('up', flush=True); select.epoll().poll()"],
        "terminate": [*DEFAULT, "import time; print('up', flush=True); time.sleep(100)"],
        "ended": ["sh", "-c", "exit 3"],
    }
    helper = subprocess.Popen(commands[kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if commands[kind][0] == sys.executable:
        assert helper.stdout is not None
        helper.stdout.readline()
    time.sleep(0.2)
    ready()
    helper.terminate()
    helper.wait()
elif kind == "pool":
    with multiprocessing.Pool(2, reset) as pool:
        pool.map(abs, range(4))
        ready()
elif kind == "prefork":
    workers = []
    for _ in range(2):
        workers.append(os.fork())
        if not workers[-1]:
            worker()
    ready()
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
elif kind == "helpers":
    # They do nothing and end with PID 1.
    subprocess.Popen(["sleep", "100000"])
    subprocess.Popen(["tail", "-f", "/dev/null"])
    ready()
elif kind == "session":
    job = subprocess.Popen(JOB, start_new_session=True)
    ready()
    job.wait()
elif kind == "handles":
    text = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(.5), sys.exit(0)))\n"
        "print('up', flush=True)\nwhile True: signal.pause()"
    )
    job = subprocess.Popen([*DEFAULT, text], stdout=subprocess.PIPE)
    assert job.stdout is not None
    job.stdout.readline()
    ready()
    job.terminate()
    job.wait()
elif kind == "report":
    job = subprocess.Popen(JOB)
    ready()
    print("job ended with", job.wait(), flush=True)
elif kind == "busy":
    text = "import time\nwhile time.process_time() < .5: pass\nprint('up', flush=True)\n"
    job = subprocess.Popen([*DEFAULT, text + "while time.process_time() < 3: pass"], stdout=subprocess.PIPE)
    assert job.stdout is not None
    job.stdout.readline()
    ready()
    job.wait()
elif kind == "gzip":
    with open("/tmp/big", "wb") as big:
        big.write(os.urandom(80_000_000))
    with open("/tmp/big.gz", "wb") as archive:
        job = subprocess.Popen(["gzip", "-9", "-c", "/tmp/big"], stdout=archive)
    while os.path.getsize("/tmp/big.gz") < 2_000_000:
        time.sleep(0.01)
    ready()
    job.wait()
elif kind == "fails":
    text = (
        "import signal, sys, time\ndef stop(*_): print('sync failed', flush=True); sys.exit(20)\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('up', flush=True)\nfor _ in range(60): time.sleep(.1)"
    )
    job = subprocess.Popen([*DEFAULT, text], stdout=subprocess.PIPE)
    assert job.stdout is not None
    job.stdout.readline()
    threading.Thread(target=lambda out=job.stdout: print(out.read().decode(), flush=True)).start()
    ready()
    job.wait()
elif kind == "run":
    subprocess.run([*DEFAULT, "import time; print('ready', flush=True); time.sleep(3); print('finished')"], check=False)
elif kind == "client":
    text = (
        "import select, socket; s = socket.create_server(('127.0.0.1', 9000)); c = s.accept()[0]; c.send(b'x')\n"
        "select.select([c], [], [], 3); c.send(b'answer')"
    )
    job = subprocess.Popen([*DEFAULT, text])
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", 9000))
            break
        except OSError:
            time.sleep(0.05)
    client.recv(1)
    ready()
    job.wait()
elif kind == "twice":
    # The kind of program that takes a second signal for the order to leave at once.
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1) if not asked else os._exit(1))
    ready()
    time.sleep(1)
else:
    sys.exit(f"unknown kind {kind}")
print("bye", flush=True)
