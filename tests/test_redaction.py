"""Values that users give a container stand in nothing that is written: names and keyed digests do."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.conductor import digest_key, restored_values, shards, store, stored_runs
from stop_harness.ecs import task_definition
from stop_harness.errors import StoreError, UsageError
from stop_harness.model import (
    GivenFile,
    Group,
    GroupKind,
    GroupVolume,
    Hook,
    HookKind,
    LogTail,
    Member,
    Observation,
    Probe,
    ProbeKind,
    ProcessInfo,
    RemedyTrial,
    Scenario,
    StoredRun,
    Subject,
    TrafficClient,
    TrafficKind,
)
from stop_harness.report import redaction
from stop_harness.report.redaction import MASK, Redaction
from tests.parts import changed
from tests.reports_factory import realistic_report, run_info

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
SECRET = "correct-horse-battery"
TASK = {
    "family": "web",
    "containerDefinitions": [
        {
            "name": "app",
            "image": "app:1",
            "command": ["serve", "--password", SECRET],
            "environment": [{"name": "PASSWORD", "value": SECRET}, {"name": "PORT", "value": "80"}],
            "logConfiguration": {"logDriver": "splunk", "options": {"splunk-token": "token-of-splunk"}},
        }
    ],
}


def scenario(name: str = "web", **environment: str) -> Scenario:
    """A scenario with environment variables."""
    return Scenario(name, Subject(image="web:1", environment=tuple(environment.items())))


def observed(**changes: Any) -> Observation:
    """An observation of the scenario `web`."""
    made = realistic_report().results[0].observation
    return changed(made, scenario="web", **changes)


def test_a_hidden_scenario_has_names_and_digests_alone() -> None:
    """Environment, build arguments, headers; equal values of two names do not show as equal."""
    given = scenario(PASSWORD=SECRET, AGAIN=SECRET)
    given = replace(
        given,
        subject=replace(given.subject, build_args=(("TOKEN", SECRET),), command=("serve", f"--password={SECRET}")),
        traffic=(TrafficClient(TrafficKind.HTTP, 80, headers=(("Authorization", f"Bearer {SECRET}"),)),),
    )
    hidden = Redaction(KEY, (given,)).scenario("web")
    assert SECRET not in repr(hidden)
    password, again = (value for _, value in hidden.subject.environment)
    assert redaction.is_hidden(password)
    assert password != again
    assert dict(hidden.subject.build_args).keys() == {"TOKEN"}
    assert hidden.subject.command == ("serve", f"--password={MASK}")
    assert redaction.has_hidden(hidden)
    assert not redaction.has_hidden(given)


def test_values_of_a_task_definition_are_hidden_too() -> None:
    """Its environment, the options of its log driver, and where its commands repeat them."""
    task = task_definition.parse(json.dumps(TASK), "task.json")
    given = Scenario("web", Subject(task_file="task.json", task=task))
    hidden = Redaction(KEY, (given,)).scenario("web")
    assert hidden.subject.task is not None
    (container,) = json.loads(hidden.subject.task.document)["containerDefinitions"]
    assert SECRET not in hidden.subject.task.document
    assert "token-of-splunk" not in hidden.subject.task.document
    assert container["command"] == ["serve", "--password", MASK]
    assert [item["name"] for item in container["environment"]] == ["PASSWORD", "PORT"]
    assert redaction.has_hidden(hidden)


def test_values_of_a_group_are_hidden_in_each_of_its_containers() -> None:
    """Of members, their hooks and probes, and in the files of volumes; what they are called stays."""
    hook = Hook(HookKind.EXEC, ("drain", f"--key={SECRET}"), environment=(("TOKEN", SECRET),))
    probe = Probe(ProbeKind.HTTP, port=80, headers=(("Authorization", "Basic dXNlcjpwYXNz"),))
    member = Member("app", scenario(PASSWORD=SECRET).subject, before_stop=(hook,), ready=probe)
    volume = GroupVolume("keys", (GivenFile("tls.key", b"-----BEGIN KEY-----\nsecret-of-a-file"),))
    group = Group(GroupKind.POD, "web", (member,), volumes=(volume,))
    whole = Scenario("web", Subject(group=group))
    hidden = Redaction(KEY, (whole,)).scenario("web")
    assert redaction.has_values(whole)
    assert redaction.has_hidden(hidden)
    for value in (SECRET, "dXNlcjpwYXNz", "secret-of-a-file"):
        assert value not in repr(hidden)
    for name in ("PASSWORD", "TOKEN", "Authorization", "tls.key"):
        assert name in repr(hidden)
    said = observed(logs=LogTail("secret-of-a-file\n"))
    assert "secret-of-a-file" not in repr(Redaction(KEY, (whole,)).observation(said))
    assert redaction.is_same(hidden, "a", Redaction(OTHER_KEY, (whole,)).scenario("web"), "b")


@given(st.text(max_size=20), st.text(max_size=20))
def test_equal_values_have_equal_digests_and_others_do_not(one: str, other: str) -> None:
    """With one key; with another key everything differs."""
    with_key, again = Redaction(KEY, ()), Redaction(KEY, ())
    assert (with_key.digest("A", one) == again.digest("A", other)) == (one == other)
    assert with_key.digest("A", one) != Redaction(OTHER_KEY, ()).digest("A", one)
    assert redaction.is_hidden(with_key.digest("A", one))


def test_what_a_container_says_is_masked_where_it_repeats_a_value() -> None:
    """Logs, command lines, names of lost processes; short values and the program itself stay."""
    seen = observed(
        before=(ProcessInfo(1, 0, f"{SECRET}/python3 app.py --password {SECRET}", 0, 0, 0),),
        lost_processes=(f"worker {SECRET}",),
        logs=LogTail(f"password is {SECRET}, port 8000\n"),
    )
    hidden = Redaction(KEY, (scenario(PASSWORD=SECRET, PORT="8000"),)).observation(seen)
    assert hidden.looks.before is not None
    assert hidden.looks.before[0].command == f"{SECRET}/python3 app.py --password {MASK}"
    assert hidden.record.lost_processes == (f"worker {MASK}",)
    assert hidden.looks.logs.text == f"password is {MASK}, port 8000\n"
    assert hidden.trial_id == seen.trial_id


def test_a_log_that_begins_within_a_value_gives_away_no_part_of_it() -> None:
    """Only the end of a long log is kept."""
    seen = observed(logs=LogTail(f"{SECRET[3:]} was the password\n", truncated=True))
    hidden = Redaction(KEY, (scenario(PASSWORD=SECRET),)).observation(seen)
    assert hidden.looks.logs.text == f"{MASK} was the password\n"


def test_lines_of_a_value_are_values() -> None:
    """A private key is logged line by line."""
    seen = observed(logs=LogTail("info: MIIEvQIBADANBg\r\n"))
    hidden = Redaction(KEY, (scenario(KEY="-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----\n"),)).observation(seen)
    assert hidden.looks.logs.text == f"info: {MASK}\r\n"


IDENTIFY = {
    *("trial_id", "scenario", "name", "product", "version", "host", "caveats", "source", "stop_signal_source", "id"),
    *("started_at", "derived_from", "state", "waits_in", "arn", "stop_code", "waits_for", "stop_signal", "place"),
    *("gone_beside", "about"),  # names of containers and exit codes
    *("container", "image"),  # names of what was watched
    "signal",  # of a fault
}


def text_fields(kind: type[Any]) -> Iterator[str]:
    """Names of fields that hold text, however deep."""
    for name, hint in get_type_hints(kind).items():
        inner = [hint, *get_args(hint), *(deeper for each in get_args(hint) for deeper in get_args(each))]
        if str in inner:
            yield name
        for each in inner:
            if is_dataclass(each):
                assert isinstance(each, type)
                yield from text_fields(each)


def test_every_text_of_a_record_is_known_to_be_spoken_or_ours() -> None:
    """A new field must be sorted into one of both before a value can hide in it."""
    found = {*text_fields(Observation), *text_fields(RemedyTrial)}
    assert found - redaction.SPOKEN - IDENTIFY == set()
    assert not redaction.SPOKEN & IDENTIFY
    assert {field.name for field in fields(ProcessInfo)} & found == {"command", "state", "waits_in"}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["check", "--env", "A=abc", "x"], ["check", "--env", f"A={MASK}", "x"]),
        (["check", "--parameter", "Key=abc"], ["check", "--parameter", f"Key={MASK}"]),
        (["check", "--env=A=abc=d", "x"], ["check", f"--env=A={MASK}", "x"]),
        (["check", "--", "run", "--env", "A=abc"], ["check", "--", "run", "--env", "A=abc"]),
        (["check", "--", "run", f"--password={SECRET}"], ["check", "--", "run", f"--password={MASK}"]),
    ],
)
def test_our_own_command_line_is_recorded_without_values(words: list[str], shown: list[str]) -> None:
    """`--env NAME=…`; behind `--` only what is a value."""
    hidden = Redaction(KEY, (scenario(PASSWORD=SECRET),))
    assert hidden.command_line(tuple(words)) == tuple(shown)


def test_without_a_key_everything_is_as_it_was() -> None:
    """`--show-values`."""
    given = scenario(PASSWORD=SECRET)
    shown = Redaction(None, (given,))
    assert shown.scenario("web") is given
    assert shown.command_line(("--env", "A=b")) == ("--env", "A=b")
    assert shown.key_id is None


# ── The key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_made_once_and_is_the_owners(tmp_path: Path) -> None:
    """32 random bytes below XDG_STATE_HOME, in a folder that only the owner enters."""
    file = digest_key.path({"XDG_STATE_HOME": str(tmp_path)})
    assert file == tmp_path / "stop-harness" / "key"
    key, trouble = digest_key.read_or_make(file)
    assert trouble is None
    assert digest_key.read_or_make(file) == (key, None)
    assert len(set(key)) > 8
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in file.parent.iterdir()] == ["key"]
    assert digest_key.path({"XDG_STATE_HOME": "relative"}) == Path.home() / ".local/state/stop-harness/key"


def test_a_key_that_cannot_be_had_is_one_for_this_run_alone(tmp_path: Path) -> None:
    """A folder that is none, a key that others read, one that is cut off: said, and nothing fails."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    key, trouble = digest_key.read_or_make(blocked / "stop-harness" / "key")
    assert len(key) == 32
    assert trouble is not None
    assert "Not a directory" in trouble
    bad = tmp_path / "key"
    bad.write_bytes(KEY)
    bad.chmod(0o644)
    assert "others may read it" in str(digest_key.read_or_make(bad)[1])
    bad.chmod(0o600)
    bad.write_bytes(b"short")
    assert "has 5 bytes instead of 32" in str(digest_key.read_or_make(bad)[1])


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

TELLS = "import os, sys, time; print('password', os.environ['PASSWORD'], flush=True); time.sleep(600)"


def check(tmp_path: Path, *options: str) -> tuple[Path, str]:
    """`check` of a command that gives its password away; the run directory, and all that was printed."""
    words = ["check", "--engine", "process", "--env", f"PASSWORD={SECRET}", "--ready-log", "password", *options]
    words += ["--timeout", "1s", "--report-dir", str(tmp_path / "reports"), "--junitxml", str(tmp_path / "j.xml")]
    done = subprocess.run(
        [sys.executable, "-m", "stop_harness", *words, "--", "python3", "-c", TELLS, SECRET],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
    )
    assert done.returncode == 1, done.stdout + done.stderr  # PID 1 has no handler and is killed
    (directory,) = (path for path in (tmp_path / "reports").iterdir() if path.is_dir() and not path.is_symlink())
    return directory, done.stdout + done.stderr


@pytest.mark.namespaces
def test_no_file_of_a_run_holds_a_value_and_none_is_anybody_elses(tmp_path: Path) -> None:
    """Every format, the journal, the JUnit file elsewhere, and the terminal; files 0600, folders 0700."""
    directory, printed = check(tmp_path)
    files = [path for path in (*directory.rglob("*"), tmp_path / "j.xml") if path.is_file()]
    assert {"run.json", "trials.jsonl", "report.html", "results.json", "j.xml"} <= {path.name for path in files}
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in printed
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    folders = [directory, *(path for path in directory.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    run = json.loads((directory / "run.json").read_text())
    assert f"PASSWORD={MASK}" in run["run"]["command_line"]
    results = json.loads((directory / "results.json").read_text())
    assert redaction.is_hidden(results["scenarios"][0]["environment"]["PASSWORD"])
    stored, verdicts = store.read(directory)
    assert stored_runs.judge(stored) == verdicts


@pytest.mark.namespaces
def test_values_and_files_are_shown_where_that_is_asked_for(tmp_path: Path) -> None:
    """`--show-values`, `--share-report`."""
    directory, _ = check(tmp_path, "--show-values", "--share-report")
    assert SECRET in (directory / "run.json").read_text()
    assert SECRET in (directory / "report.html").read_text()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((directory / "report.html").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(directory.stat().st_mode) == 0o777 & ~umask
    assert not (tmp_path / "state").exists()


def test_a_report_that_is_written_again_stays_as_private_as_it_was(tmp_path: Path) -> None:
    """`report RUN_DIR` of a private and of a shared run."""
    for shared, mode in ((False, 0o600), (True, 0o666)):
        umask = os.umask(0)
        try:
            directory = store.RunDirectory.create(tmp_path, "run", shared=shared)
            again = store.RunDirectory(directory.path).write("report.html", "x")
        finally:
            os.umask(umask)
        assert stat.S_IMODE(again.stat().st_mode) == mode


# ── Stored runs ──────────────────────────────────────────────────────────────────────────────────────────────────────

FILE = "version: 1\nname: web\nsubject: {{image: x, environment: {{PASSWORD: {value}, PORT: 80}}}}\n{more}"


def stored_run(key: bytes, *scenarios: Scenario) -> StoredRun:
    """As a run file has it."""
    hidden = Redaction(key, scenarios)
    run = replace(run_info(), digest_key=hidden.key_id)
    return StoredRun(run, tuple(hidden.scenario(item.name) for item in scenarios), (), 1)


def test_a_stored_scenario_gets_its_values_back_from_its_file(tmp_path: Path) -> None:
    """If the file still says what was run; else one line says what changed."""
    from stop_harness.scenario import discovery

    key_file, file = tmp_path / "key", tmp_path / "web.yaml"
    key, _ = digest_key.read_or_make(key_file)
    file.write_text(FILE.format(value=SECRET, more=""))
    original = discovery.load((file,))
    stored = stored_run(key, *original)
    assert stored.scenarios != original
    assert restored_values.restore(stored.run, stored.scenarios, key_file) == original
    for text, message in (
        (FILE.format(value="another", more=""), "changed since the run: environment.PASSWORD; start a new run"),
        (FILE.format(value=SECRET, more="repeat: 2\n"), "changed since the run: more than values"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=message):
            restored_values.restore(stored.run, stored.scenarios, key_file)
    file.unlink()
    with pytest.raises(UsageError, match="is gone"):
        restored_values.restore(stored.run, stored.scenarios, key_file)


def test_values_without_a_file_or_of_another_machine_are_refused_in_one_line(tmp_path: Path) -> None:
    """`check` has no file, and another machine's digests say nothing here."""
    key_file = tmp_path / "key"
    key, _ = digest_key.read_or_make(key_file)
    here, elsewhere = stored_run(key, scenario(PASSWORD=SECRET)), stored_run(OTHER_KEY, scenario(PASSWORD=SECRET))
    with pytest.raises(UsageError, match="repeat the command"):
        restored_values.restore(here.run, here.scenarios, key_file)
    with pytest.raises(UsageError, match="made with another key"):
        restored_values.restore(elsewhere.run, elsewhere.scenarios, key_file)
    plain = stored_run(key, scenario())
    assert restored_values.restore(plain.run, plain.scenarios, key_file) == plain.scenarios


def test_shards_of_two_machines_merge_although_their_keys_differ() -> None:
    """With one key, two values are two scenarios."""
    one, other = (stored_run(key, scenario(PASSWORD=SECRET)) for key in (KEY, OTHER_KEY))
    assert len(shards.merge((one, other)).scenarios) == 1
    with pytest.raises(StoreError, match="two different scenarios"):
        shards.merge((one, stored_run(KEY, scenario(PASSWORD="another"))))
    with pytest.raises(StoreError, match="two different scenarios"):
        shards.merge((one, stored_run(OTHER_KEY, scenario(PASSPHRASE=SECRET))))
