"""What to do about a bad stop: chosen by cause, by the shape of the process tree and by the programs seen in it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.evidence.launch import Shape, launch
from stop_harness.model import Advice, Cause, Looks, Observation, Outcome, Report, Status, TrialResult
from stop_harness.renderers import html, junit, markdown, sarif, terminal
from stop_harness.renderers.results import results_json
from stop_harness.verdict.advice import advice, cures, programs
from stop_harness.verdict.known_causes import CAUSES
from tests import process_tables as recorded
from tests.process_tables import Table, table, tables
from tests.reports_factory import realistic_report

SCRIPT = "1 0 1 10000 4 10002 0 S do_wait /bin/bash /app/start.sh"
SHAPES = {
    "one program": (Shape.PROGRAM, recorded.HANDLER),
    "below an init": (Shape.PROGRAM, recorded.INIT_SLEEP),
    "a shell with -c": (Shape.COMMAND, recorded.SHELL_FORM),
    "a script": (Shape.SCRIPT, recorded.INIT_SHELL),
    "a loop that sleeps": (Shape.LOOP, recorded.TRAP_LOOP),
    "a script without children": (Shape.LOOP, table(SCRIPT)),
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


def given_for(cause: str, before: Table | None, signal: str = "SIGTERM", log: str = "", image: str = "") -> str:
    """All the advice as one text."""
    seen = stopped(before, signal, log)
    return "\n".join(f"{each.program}: {each.text} {each.lines}" for each in advice(Cause(cause, ""), seen, image))


def stopped(before: Table | None, signal: str = "SIGTERM", log: str = "") -> Observation:
    """An observation with these processes."""
    seen = realistic_report().results[0].observation
    looks = replace(seen.looks, before=before, after_signal=None, late=None, logs=replace(seen.looks.logs, text=log))
    return replace(seen, looks=looks, record=replace(seen.record, stop_signal=signals.number(signal)))


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
    "supervisord": ("inner-kill", alone("/usr/bin/python3 /usr/bin/supervisord -n"), "stopwaitsecs"),
    "pm2": ("inner-kill", alone("PM2 v5.3.0: God Daemon (/root/.pm2)"), "kill_timeout"),
}


@pytest.mark.parametrize(("cause", "before", "expected"), PROGRAMS.values(), ids=PROGRAMS)
def test_the_programs_that_were_seen_get_their_own_advice(cause: str, before: Table, expected: str) -> None:
    """By the name of the command, of what an interpreter runs, or by the signals that a runtime catches."""
    assert expected in given_for(cause, before)


def test_advice_depends_on_the_stop_signal() -> None:
    """Nobody is told to send the signal that was sent."""
    _, before, _ = PROGRAMS["nginx"]
    assert "STOPSIGNAL SIGQUIT" not in given_for("fast-drop", before, "SIGQUIT")


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
