"""What to do about a bad stop: chosen by cause, by the shape of the process tree and by the programs seen in it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.evidence.launch import Init, Shape, launch
from stop_harness.model import (
    Advice,
    Cause,
    Looks,
    Observation,
    Outcome,
    ProcessFate,
    Report,
    Request,
    RequestFate,
    Status,
    TrafficKind,
    TrafficRecord,
    TrialResult,
)
from stop_harness.renderers import html, junit, markdown, sarif, terminal
from stop_harness.renderers.results import results_json
from stop_harness.verdict.advice import advice, cures, programs
from stop_harness.verdict.known_causes import CAUSES
from tests import process_tables as recorded
from tests.process_tables import Table, table, tables
from tests.reports_factory import realistic_report

SCRIPT = "1 0 1 10000 4 10002 0 S do_wait /bin/bash /app/start.sh"
YARN = table("""
    1 0 11 0 0 4602 0 S do_epoll_wait node /usr/bin/yarnpkg start
    17 1 1 0 0 10002 0 S do_wait /bin/sh -c node server.js
    18 17 7 0 0 4602 0 S do_epoll_wait /usr/bin/node server.js""")
SHAPES = {
    "one program": (Shape.PROGRAM, recorded.HANDLER),
    "below an init": (Shape.PROGRAM, recorded.INIT_SLEEP),
    "a shell with -c": (Shape.COMMAND, recorded.SHELL_FORM),
    "a script": (Shape.SCRIPT, recorded.INIT_SHELL),
    "a loop that sleeps": (Shape.LOOP, recorded.TRAP_LOOP),
    "a script without children": (Shape.LOOP, table(SCRIPT)),
    "a shell at its terminal": (Shape.INTERACTIVE, table("1 0 1 0 4000 10002 0 S - bash -l")),
    "two services": (
        Shape.SEVERAL,
        table(f"{SCRIPT}\n7 1 1 0 0 4002 0 S - python3 api.py\n8 1 1 0 0 4002 0 S - python3 worker.py"),
    ),
    "a pipe": (Shape.PIPED, table(f"{SCRIPT}\n7 1 1 0 0 4002 0 S - python3 app.py\n8 1 1 0 0 0 0 S - tee app.log")),
    "a copier below the program": (
        Shape.PIPED,
        table("1 0 1 0 0 4002 0 S - python3 -u app.py\n7 1 1 0 0 0 0 S - tee -a /var/log/app.log"),
    ),
    "a daemon and tail": (
        Shape.HELD_OPEN,
        table(f"{SCRIPT}\n7 1 1 0 0 4002 0 S - nginx: master process nginx\n8 1 1 0 0 0 0 S - tail -f /var/log/x"),
    ),
    "tail as PID 1": (
        Shape.HELD_OPEN,
        table("1 0 1 0 0 0 0 S - tail -f /dev/null\n7 1 1 0 0 4002 0 S - nginx: master process nginx"),
    ),
    "npm": (Shape.WRAPPED, recorded.NPM),
    "yarn": (Shape.WRAPPED, YARN),
    "a supervisor": (Shape.SUPERVISED, table("1 0 1 0 0 0 0 S - svscan /svc\n8 1 1 0 0 4002 0 S - python3 app.py")),
    "a supervisor in Python": (
        Shape.SUPERVISED,
        table("1 0 1 0 0 4002 0 S - /usr/bin/python3 /usr/bin/supervisord -n"),
    ),
    "a supervisor below an init": (
        Shape.SUPERVISED,
        table(
            "1 0 1 0 0 0 0 S - tini -- supervise /app\n8 1 1 0 0 0 0 S - supervise /app\n9 8 1 0 0 4002 0 S - perl a.pl"
        ),
    ),
    "a helper named cat": (Shape.PROGRAM, table("1 0 1 0 0 4002 0 S - ruby a.rb\n7 1 1 0 0 0 0 S - cat")),
    "nobody looked": (Shape.UNSEEN, ()),
}


@pytest.mark.parametrize(("shape", "before"), SHAPES.values(), ids=SHAPES)
def test_the_shape_is_what_stands_above_the_program(shape: Shape, before: Table) -> None:
    """As the process table before the stop shows it."""
    assert launch(Looks(before=before or None)).shape is shape


def test_a_shell_that_runs_one_command_after_the_other_is_a_loop() -> None:
    """Whatever its commands are: none of those before the signal is left, and another one runs."""
    before = table(f"{SCRIPT}\n7 1 1 0 0 0 0 S - convert a.png a.jpg")
    late = table(f"{SCRIPT}\n9 1 1 0 0 0 0 S - convert b.png b.jpg")
    assert launch(Looks(before=before, late=late)).shape is Shape.LOOP
    assert launch(Looks(before=before, late=before)).shape is Shape.SCRIPT


@pytest.mark.parametrize("step", ["", "\n7 1 1 0 0 0 0 R - lua chunk.lua"], ids=["between two steps", "in a step"])
def test_a_script_that_has_no_handler_is_told_to_trap_whatever_the_look_met(step: str) -> None:
    """That it is the program itself, the record of exits may have told."""
    assert "Give it a trap" in given_for("pid1-no-handler", table(SCRIPT + step))


def given_for(cause: str, before: Table | None, signal: str = "SIGTERM", log: str = "", image: str = "") -> str:
    """All the advice as one text."""
    return text_of(cause, stopped(before, signal, log), image)


def text_of(cause: str, seen: Observation, image: str = "") -> str:
    """All the advice for what was seen."""
    return "\n".join(f"{each.program}: {each.text} {each.lines}" for each in advice(Cause(cause, ""), seen, image))


def stopped(
    before: Table | None,
    signal: str = "SIGTERM",
    log: str = "",
    lost: tuple[str, ...] = (),
    cut: TrafficKind | None = None,
) -> Observation:
    """An observation with these processes, those that the kernel ended, and one request that was cut."""
    seen = realistic_report().results[0].observation
    looks = replace(seen.looks, before=before, after_signal=None, late=None, logs=replace(seen.looks.logs, text=log))
    record = replace(seen.record, stop_signal=signals.number(signal), lost_processes=lost, fates=None)
    requests = (Request(cut, 1, RequestFate.RESET, connected_at_ns=-2, sent_at_ns=-1),) if cut else ()
    traffic = TrafficRecord(requests) if cut else None
    return replace(seen, looks=looks, record=record, traffic=traffic, ready=None)


def test_a_shell_at_its_terminal_is_no_script() -> None:
    """bash ignores SIGTERM there: nobody can give it a trap, and SIGHUP ends it."""
    said = given_for("signal-ignored", table("1 0 1 0 4000 10002 0 S - bash"))
    assert "SIGHUP" in said
    assert "Give it a trap" not in said


def test_exec_is_no_advice_where_it_cures_nothing() -> None:
    """A loop needs a trap; two services need a handler that stops both; a copier has to be waited for."""
    for name in ("a loop that sleeps", "a script without children", "two services", "a pipe"):
        _, before = SHAPES[name]
        found = advice(Cause("shell-not-forwarding", ""), stopped(before))[0]
        assert "trap" in found.lines, name
        assert "exec program" not in found.lines, name
    below_npm = advice(Cause("child-killed-by-teardown", ""), stopped(recorded.NPM))
    assert "Start the program itself" in below_npm[0].text
    for name in ("a script", "a daemon and tail"):
        assert "exec" in advice(Cause("shell-not-forwarding", ""), stopped(SHAPES[name][1]))[0].lines


UNDER_TINI = "1 0 1 0 0 0 0 S do_sigtimedwait tini -- {0}\n8 1 1 0 0 {1} 0 S - {0}"
MONIT = "1 0 1 0 0 4002 0 S - monit -I -c /app/monitrc\n9 1 1 0 0 4002 0 S - python3 -u app.py"
SUPERVISE = UNDER_TINI.format("supervise /svc/app", 0) + "\n9 8 1 0 0 4002 0 S - python3 -u app.py"
RUNIT = UNDER_TINI.format("runsvdir /svc", 4002) + "\n9 8 1 0 0 4002 0 S - runsv app"
XARGS = (
    UNDER_TINI.format("/bin/sh /app/s.sh", 0) + "\n10 8 1 0 0 0 0 S - xargs -P 2 sh -c x\n11 10 1 0 0 0 0 S - gzip a"
)
SVSCAN = "1 0 1 0 0 0 0 S - svscan /svc\n8 1 1 0 0 0 0 S - supervise app\n9 8 1 0 0 4002 0 S - python3 app.py"
AGENT = (
    "1 0 1 0 0 4002 0 S - ruby /app/a.rb\n7 1 1 0 0 0 0 S - cat\n8 1 1 0 0 0 0 S - tee -a log\n9 1 1 0 0 0 0 S - gzip a"
)
PIPE = "1 0 1 0 0 2 0 S - /bin/sh -c app | tee log\n7 1 1 0 0 4002 0 S - app\n8 1 1 0 0 0 0 S - tee log"
RABBIT = """
    1 0 1 0 0 2 0 S - /bin/sh /usr/sbin/rabbitmq-server
    8 1 1 0 0 2 0 S - su rabbitmq -s /bin/sh -c x
    9 8 1 0 0 4002 0 S - /usr/lib/erlang/erts-13/bin/beam.smp -s rabbit"""
GROUP = "1 0 1 0 0 0 0 S - tini -g -- python3 a.py\n8 1 1 0 0 4002 0 S - python3 a.py\n9 8 1 0 0 0 0 S - gzip a"
KILL_ZERO = "1 0 1 0 0 4002 0 S - /bin/bash /e.sh\n8 1 1 0 0 4002 0 S - python3 a.py\n9 8 1 0 0 0 0 S - gzip a"

TOLD = {
    # name: (cause, processes, names of the lost, what is said, what is not)
    "monit, not the program it leaves behind": (
        "child-killed-by-teardown", MONIT, ("python3",), "monit stop all", "Python:",
    ),
    "the supervisor and no init that is there": (
        "child-killed-by-teardown", SUPERVISE, ("python3",), "svc -dx", "tini",
    ),
    "runit below a plain init": ("child-killed-by-teardown", RUNIT, ("runsv",), "sv -w 20", "tini"),
    "a script above jobs without handlers": ("child-killed-by-teardown", XARGS, ("gzip",), "first_job", "kill -T"),
    "a script above node, which handles it": (
        "child-killed-by-teardown",
        UNDER_TINI.format("/bin/sh /app/s.sh", 0) + "\n9 8 7 0 0 4602 0 S - node a.js",
        ("node",), "kill -TERM", "None of them handles",
    ),
    "a wrapper, not the program below it": (
        "pid1-no-handler",
        "1 0 1 0 0 0 0 S do_wait flock /tmp/lock node a.js\n8 1 7 0 0 4602 0 S - node a.js",
        (), "--no-fork", "Node.js:",
    ),
    "a supervisor without a handler": ("pid1-no-handler", SVSCAN, (), "svc -dx", "signal.signal"),
    "a supervisor is not told to handle a signal": ("pid1-no-handler", SVSCAN, (), "entrypoint", "in the program:"),
    "supervisord above a shell": (
        "child-killed-by-teardown",
        "1 0 1 0 0 4002 0 S - python3 /usr/bin/supervisord -n\n8 1 1 0 0 2 0 S - sh -c a\n9 8 1 0 0 4002 0 S - node a",
        ("node",), "prepare && exec app", "Python:",
    ),
    "a lost job beside a copier": ("child-killed-by-teardown", AGENT, ("gzip",), "wait for all of them", "tee"),
    "a lost copier": ("child-killed-by-teardown", AGENT, ("tee", "gzip"), "mkfifo", "exec program argument"),
    "a shell above a pipe": ("shell-not-forwarding", PIPE, (), "mkfifo", "exec program argument"),
    "a script by its name": ("child-killed-by-teardown", RABBIT, ("beam.smp",), "USER rabbitmq", "su, sudo:"),
    "an init that signals the group": ("group-signal", GROUP, (), '["tini", "--"]', "kill 0"),
    "a script that signals the group": ("group-signal", KILL_ZERO, (), "instead of: kill 0", "tini"),
}  # fmt: skip


@pytest.mark.parametrize(("cause", "before", "lost", "said", "not_said"), TOLD.values(), ids=TOLD)
def test_advice_speaks_to_who_can_mend_it(
    cause: str, before: str, lost: tuple[str, ...], said: str, not_said: str
) -> None:
    """To who left, stood above or does not handle the signal; not to who was lost, nor to who does its part."""
    text = text_of(cause, stopped(table(before), lost=tuple(f"{name} (PID 9)" for name in lost)))
    assert said in text
    assert not_said not in text


@pytest.mark.parametrize("cause", sorted(CAUSES))
@pytest.mark.parametrize("command", ["python3 app.py", "node a.js", "/bin/sh /e.sh", "supervise /svc/app"])
def test_an_init_that_is_there_is_not_asked_for(cause: str, command: str) -> None:
    """Whatever stands below it, and whatever went wrong."""
    text = given_for(cause, table(UNDER_TINI.format(command, 0) + "\n9 8 1 0 0 4002 0 S - python3 app.py"))
    assert "--init" not in text
    assert "tini" not in text
    assert "dumb-init" not in text


def test_package_managers_have_words() -> None:
    """Debian's yarn is called yarnpkg, and is a script of node's; the node below it was lost, not wrong."""
    found = advice(Cause("child-killed-by-teardown", ""), stopped(YARN, lost=("node (PID 18)",)))
    assert "Start the program itself" in found[0].text
    assert [item.program for item in found[1:]] == ["npm, yarn, pnpm"]


KINDS = {
    TrafficKind.WEBSOCKET: ("1001", "client.close(1001)", "server.close()", "RegisterOnShutdown"),
    TrafficKind.HTTP2: ("GOAWAY", "session.close()", "GOAWAY", "Shutdown"),
    TrafficKind.GRPC: ("GracefulStop", "tryShutdown", "server.stop(grace=25)", "GracefulStop"),
}


@pytest.mark.parametrize(("kind", "said"), KINDS.items(), ids=[kind.value for kind in KINDS])
def test_what_was_cut_decides_the_advice(kind: TrafficKind, said: tuple[str, ...]) -> None:
    """A close frame, GOAWAY or a graceful stop; nothing that only helps HTTP/1."""
    tables = (alone("x"), alone("node a.js"), alone("python3 a.py"), recorded.GO)
    for word, before in zip(said, tables, strict=True):
        text = text_of("fast-drop", stopped(before, cut=kind))
        assert word in text
        assert "ThreadingHTTPServer" not in text
        assert "closeIdleConnections" not in text
    assert "ThreadingHTTPServer" in text_of("fast-drop", stopped(alone("python3 a.py"), cut=TrafficKind.HTTP))


def test_a_server_is_not_spoken_of_where_none_was_seen() -> None:
    """A program that hangs has a limit to set; that of a server only if it had clients."""
    for before, limit, drain in (
        (recorded.GO, "time.After", "server.Close()"),
        (alone("node a.js"), "setImmediate", "closeAllConnections"),
        (alone("python3 a.py"), "stopping.wait", "serve_forever"),
    ):
        seen = stopped(before)
        assert limit in text_of("handler-hangs", seen)
        assert drain not in text_of("handler-hangs", seen)
        served = replace(seen, record=replace(seen.record, fates=(ProcessFate("app", served=1),)))
        assert drain in text_of("handler-hangs", served)


def alone(command: str) -> Table:
    """A table of one process that handles SIGTERM."""
    return table(f"1 0 1 0 0 4002 0 S - {command}")


PROGRAMS = {
    "nginx": ("fast-drop", alone("nginx: master process nginx -g daemon off;"), "SIGQUIT"),
    "gunicorn": ("grace-too-short", alone("/usr/bin/python3 /usr/bin/gunicorn app:app"), "--graceful-timeout"),
    "titled": ("grace-too-short", alone("gunicorn: master [app:app]"), "--graceful-timeout"),
    "python": ("pid1-no-handler", alone("/usr/bin/python3.11 -u app.py"), "signal.signal"),
    "node below npm": ("wrapper-swallows-signal", recorded.NPM, '["node", "server.js"]'),
    "Go": ("fast-drop", recorded.GO, "Shutdown"),
    "Ruby": ("reraise-lost", recorded.RUBY, "Signal.trap"),
    "postgres": ("waits-for-clients", alone("/usr/lib/postgresql/15/bin/postgres -D /d"), "SIGINT"),
    "php-fpm": ("fast-drop", alone("php-fpm: master process (/etc/php.conf)"), "process_control_timeout"),
    "rabbit": ("child-killed-by-teardown", alone("/usr/lib/erlang/erts-13/bin/beam.smp -s rabbit"), "RabbitMQ"),
    "squid": ("unknown", alone("squid -N -f /etc/squid/squid.conf"), "shutdown_lifetime 5 seconds"),
    "beanstalkd": ("unknown", alone("beanstalkd -l 0.0.0.0"), "init: true"),
    "supervisord": ("inner-kill", alone("/usr/bin/python3 /usr/bin/supervisord -n"), "stopwaitsecs"),
    "pm2": ("inner-kill", alone("PM2 v5.3.0: God Daemon (/root/.pm2)"), "kill_timeout"),
}


@pytest.mark.parametrize(("cause", "before", "expected"), PROGRAMS.values(), ids=PROGRAMS)
def test_the_programs_that_were_seen_get_their_own_advice(cause: str, before: Table, expected: str) -> None:
    """By the name of the command, of what an interpreter runs, or by the signals that a runtime catches."""
    assert expected in given_for(cause, before)


@given(
    cause=st.sampled_from(sorted(CAUSES.keys() - {"immediate-kill"})),  # that is SIGKILL
    program=st.sampled_from(sorted(name for each in programs() for name in each.names)),
    signal=st.sampled_from(["SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGWINCH"]),
)
def test_nobody_is_told_to_send_the_signal_that_was_sent(cause: str, program: str, signal: str) -> None:
    """Of any program, whatever went wrong."""
    assert f"STOPSIGNAL {signal}\n" not in given_for(cause, alone(program), signal) + "\n"


def test_a_program_is_not_taken_for_the_file_it_reads() -> None:
    """Only an interpreter's arguments are names of programs."""
    assert "nginx:" not in given_for("pid1-no-handler", alone("tail -f /var/log/nginx"))


def test_log_and_image_tell_what_processes_do_not() -> None:
    """Every JVM is called java; a cluster shows no processes."""
    java = alone("java -jar app.jar")
    assert "server.shutdown=graceful" in given_for("fast-drop", java, log=" :: Spring Boot ::  (v2.7.1)")
    assert "server.shutdown=graceful" not in given_for("fast-drop", java)
    assert "STOPSIGNAL SIGQUIT" in given_for("fast-drop", None, image="registry.example/library/nginx:1.27@sha256:0")


@given(cause=st.sampled_from(sorted(CAUSES)), before=tables, late=tables)
def test_every_cause_comes_with_a_cure(cause: str, before: Table | None, late: Table | None) -> None:
    """Whatever the processes look like."""
    seen = stopped(before)
    found = advice(Cause(cause, ""), replace(seen, looks=replace(seen.looks, late=late)))
    assert found
    assert all(item.text for item in found)


def test_the_tables_name_what_exists() -> None:
    """Causes, shapes and signals; every piece of advice has a source."""
    entries = [*cures(), *(entry for program in programs() for entry in program.entries)]
    for entry in entries:
        assert entry.causes <= set(CAUSES), entry.advice.text
        assert entry.shapes <= set(Shape), entry.advice.text
        assert entry.inits <= set(Init), entry.advice.text
        assert entry.traffic <= set(TrafficKind), entry.advice.text
        assert all(signals.number(name) for name in entry.stop_signals)
        assert entry.advice.source
        assert len(entry.advice.lines.splitlines()) <= 11, entry.advice.text
    names = [program.name for program in programs()]
    assert len(names) == len(set(names))


ADVICE = Advice("Send SIGQUIT.", "nginx", "STOPSIGNAL SIGQUIT\n# <b>", "nginx.org, Controlling nginx", "nginx-sigquit")


def failed() -> Report:
    """One failed stop with a cause and advice."""
    report = realistic_report()
    old = next(item for item in report.results if item.verdict.outcome is Outcome.CRASHED)
    changed = replace(old.verdict, status=Status.FAIL, cause=Cause("fast-drop", "it left at once", (ADVICE,)))
    scenario = next(item for item in report.scenarios if item.name == old.observation.scenario)
    compliance = tuple(row for row in report.compliance if row.scenario == scenario.name)
    return replace(
        report,
        scenarios=(scenario,),
        results=(TrialResult(old.observation, changed),),
        compliance=compliance,
        platforms=(),
    )


def test_every_format_prints_cause_and_cure() -> None:
    """Where the cause is, there is what to do about it, with its lines and its source."""
    report = failed()
    junit_text = "".join(ET.fromstring(junit.render(report)).itertext())
    results = json.loads(results_json.render(report))["trials"][0]["cause"]["advice"][0]
    texts = {
        "check": " ".join(terminal.check_verdict(report).split()),
        "junit": junit_text,
        "markdown": markdown.render(report),
        "html": html.render(report, {}),
        "sarif": json.loads(sarif.render(report))["runs"][0]["tool"]["driver"]["rules"],
        "results.json": results,
    }
    for name, text in texts.items():
        assert "Send SIGQUIT." in str(text), name
        assert "STOPSIGNAL SIGQUIT" in str(text), name
        assert "Controlling nginx" in str(text), name
    assert "cure" in terminal.summary(report)
    assert "<b>" not in html.render(report, {}).partition("STOPSIGNAL SIGQUIT")[2][:20]
    assert results["proof"] == "nginx-sigquit"
