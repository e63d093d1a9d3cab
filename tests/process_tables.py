"""Process tables as engines printed them, recorded from real containers on Docker 20.10, Linux 6.18."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from stop_harness.model import NS_PER_S, ProcessInfo

Table = tuple[ProcessInfo, ...]


def table(text: str) -> Table:
    """Lines of `pid parent threads blocked ignored caught pending state waits_in command`, masks in hex."""
    rows = []
    for line in text.strip().splitlines():
        words = line.split(None, 9)
        blocked, ignored, caught, pending = (int(word, 16) for word in words[3:7])
        waits_in = "" if words[8] == "-" else words[8]
        rows.append(
            ProcessInfo(
                int(words[0]), int(words[1]), words[9], caught, ignored, blocked, pending, words[7], waits_in,
                int(words[2]),
            )
        )  # fmt: skip
    return tuple(rows)


def turned(rows: Table, switches: int) -> Table:
    """The same table with a count of turns."""
    return tuple(replace(row, switches=switches) for row in rows)


def used(rows: Table, cpu_s: float) -> Table:
    """The same table, each process with this much CPU time."""
    return tuple(replace(row, cpu_ns=round(cpu_s * NS_PER_S)) for row in rows)


def locked(rows: Table, lock: int = 0x7F00) -> Table:
    """The same table, every thread of it waiting for a lock without a time limit, none of them having moved."""
    return tuple(replace(row, locked_threads=row.threads, lock=lock, cpu_ns=NS_PER_S // 10) for row in rows)


def serving(rows: Table, clients: int = 1) -> Table:
    """The same table, its last process with so many clients, the others with none."""
    return (*(replace(row, clients=0) for row in rows[:-1]), replace(rows[-1], clients=clients))


def waiting(rows: Table, *, locked: int = 0, polling: int = 0) -> Table:
    """The same table, so many threads of each process waiting without a time limit, none of them having moved."""
    return tuple(
        replace(row, locked_threads=locked, lock=0, polling_threads=polling, cpu_ns=NS_PER_S // 10) for row in rows
    )


SHELL_FORM = table("""
    25248 25203 1 0 0 10002 0 S do_wait /bin/sh -c echo start; python3 -u app.py
    25360 25248 3 0 1001000 100004002 0 S poll_schedule_timeout.constprop. python3 -u app.py""")
SLEEP = table("6802 6781 1 0 0 0 0 S hrtimer_nanosleep sleep 100")
INIT_SLEEP = table("""
    6864 6844 1 0 300000 0 0 S do_sigtimedwait.isra.0 /sbin/docker-init -- sleep 100
    6902 6864 1 0 0 0 0 S hrtimer_nanosleep sleep 100""")
INIT_SHELL = table("""
    17961 17649 1 0 300000 0 0 S do_sigtimedwait.isra.0 /sbin/docker-init -- /e.sh server -D FOREGROUND
    19818 17961 1 10000 4 10002 0 S do_wait /bin/bash /e.sh server -D FOREGROUND
    19819 19818 1 0 1001000 80046eb 0 S poll_schedule_timeout.constprop. server -D FOREGROUND""")
SIGWAIT = table("31 30 1 0 1001000 2 0 S do_sigtimedwait.isra.0 python3 -u waits.py")
IGNORES = table("32 30 1 0 1005000 2 0 S hrtimer_nanosleep python3 -u stubborn.py")
BLOCKS = table("10301 10271 1 4000 1001000 2 0 S hrtimer_nanosleep python3 -u blocks.py")
BLOCKS_PENDING = table("10301 10271 1 4000 1001000 2 4000 S hrtimer_nanosleep python3 -u blocks.py")
NODE = table("10691 10669 7 0 1001000 100004602 0 S do_epoll_wait node -e setInterval(()=>{},1000)")
NODE_RESET = table("10691 10669 7 0 1001000 100000602 0 S do_epoll_wait node -e setInterval(()=>{},1000)")
HANDLER = table("8760 6449 1 0 1001000 4002 0 S hrtimer_nanosleep python3 -u app.py")
HANDLER_POLLS = table("8760 6449 1 0 1001000 4002 0 S do_poll python3 -u app.py")
HANDLER_RESET = table("8760 6449 1 0 1001000 2 0 S hrtimer_nanosleep python3 -u app.py")
HANDLER_LOCKED = table("8760 6449 1 0 1001000 4002 0 S futex_do_wait python3 -u app.py")
HANDLER_BUSY = table("8760 6449 1 0 1001000 4002 0 R - python3 -u app.py")
THREADS = table("24295 24248 2 0 1001000 100004002 0 S hrtimer_nanosleep python3 -u app.py")
THREADS_LOCKED = table("24295 24248 2 0 1001000 100004002 0 S futex_do_wait python3 -u app.py")
TRAP_FOREGROUND = table("""
    3403 3016 1 10000 4 14002 0 S do_wait bash -c trap 'exit 0' TERM; sleep 1000; true
    6854 3403 1 0 0 0 0 S hrtimer_nanosleep sleep 1000""")
TRAP_LOOP = table("""
    6852 6807 1 10000 4 14002 0 S do_wait bash -c trap 'echo got TERM' TERM; while true; do sleep 0.3; done
    8582 6852 1 0 0 0 0 S hrtimer_nanosleep sleep 0.3""")
TRAP_LOOP_LATER = table("""
    6852 6807 1 10000 4 14002 0 S do_wait bash -c trap 'echo got TERM' TERM; while true; do sleep 0.3; done
    8701 6852 1 0 0 0 0 S hrtimer_nanosleep sleep 0.3""")
LOOP = table("""
    700 690 1 10000 4 10002 0 S do_wait /bin/bash /worker.sh
    731 700 1 0 0 0 0 S hrtimer_nanosleep sleep 7""")
WAITS_FOR_DB = table("""
    700 690 1 10000 4 10002 0 S do_wait /bin/bash /entrypoint.sh
    731 700 1 0 0 0 0 S wait_woken nc -z db 5432""")
WAITS_FOR_DB_LATER = table("700 690 1 10000 4 10002 0 S do_wait /bin/bash /entrypoint.sh")
TWO = table("""
    20 10 1 10000 4 10002 0 S do_wait /bin/bash /start.sh
    21 20 1 0 1001000 4002 0 S hrtimer_nanosleep python3 api.py
    22 20 1 0 1001000 4002 0 S hrtimer_nanosleep python3 worker.py""")
PIPED = table("""
    20 10 1 10000 4 10002 0 S do_wait /bin/bash /start.sh
    21 20 1 0 1001000 4002 0 S hrtimer_nanosleep python3 api.py
    22 20 1 0 0 0 0 S pipe_read tee /log""")
FAULT_HANDLER = table("900 890 1 0 0 4400 0 S do_poll server")
FAULT_RAISED = table("900 890 1 0 0 4000 0 S do_poll server")
SUPERVISOR = table("""
    11583 11352 1 0 1001000 14807 0 S poll_schedule_timeout.constprop. /usr/bin/python3 /usr/bin/supervise
    16918 11583 1 0 1005000 2 0 S hrtimer_nanosleep python3 -u /app/app.py""")
NPM = table("""
    400 390 11 0 1001000 100004602 0 S do_epoll_wait npm start
    420 400 1 0 0 10002 0 S do_wait sh -c node server.js
    421 420 7 0 1001000 100004602 0 S do_epoll_wait node server.js""")
RUBY = table("25011 24926 1 0 0 42017e4f 0 S poll_schedule_timeout.constprop. ruby /app/app.rb")
GO = table("20905 20881 7 0 0 fffffffd7fc1feff 0 S futex_do_wait /app")
SESSIONS = table("""
    60 50 1 0 1001000 14a07 0 S poll_schedule_timeout.constprop. /usr/lib/postgresql/15/bin/postgres -D /data
    61 60 1 0 0 20000a07 0 S do_epoll_wait postgres: checkpointer
    62 60 1 0 0 20006287 0 S do_epoll_wait postgres: app shop 10.0.0.7(33968) idle""")
TRAP_FOR_ANOTHER_USER = table("""
    23 20 1 0 4 14002 0 S do_wait bash -c server & p=$!; trap 'kill $p; wait $p' TERM; wait $p
    24 23 1 0 6 4000 0 S do_poll server""")
NODE_SPINS = table("10691 10669 7 0 1001000 100004602 0 R - node spins.js")

RECORDED = (
    SHELL_FORM, SLEEP, INIT_SLEEP, INIT_SHELL, SIGWAIT, IGNORES, BLOCKS, BLOCKS_PENDING, NODE, NODE_RESET, HANDLER,
    HANDLER_RESET, HANDLER_LOCKED, HANDLER_BUSY, THREADS, THREADS_LOCKED, TRAP_FOREGROUND, TRAP_LOOP, TRAP_LOOP_LATER,
    SUPERVISOR, NPM, RUBY, GO,
)  # fmt: skip

masks = st.integers(0, 2**64 - 1) | st.just(0)
processes = st.builds(
    ProcessInfo,
    pid=st.integers(0, 12),
    parent_pid=st.integers(0, 12),
    command=st.text(max_size=12) | st.sampled_from([row.command for rows in RECORDED for row in rows]),
    caught=masks,
    ignored=masks,
    blocked=masks,
    pending=st.none() | masks,
    state=st.sampled_from(["", "R", "S", "Z"]),
    waits_in=st.sampled_from(["", "do_wait", "futex_do_wait", "hrtimer_nanosleep", "do_sigtimedwait.isra.0", "x"]),
    threads=st.none() | st.integers(0, 3),
    switches=st.none() | st.integers(0, 9),
    cpu_ns=st.none() | st.integers(0, 2 * NS_PER_S),
    locked_threads=st.none() | st.integers(0, 3),
    lock=st.none() | st.integers(0, 2),
    polling_threads=st.none() | st.integers(0, 3),
    clients=st.none() | st.integers(0, 2),
)
tables = st.none() | st.lists(processes, max_size=5).map(tuple) | st.sampled_from(RECORDED)
"""Any table, also such as no kernel would print: cycles, pids twice, nobody at the root."""
