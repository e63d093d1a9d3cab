"""The options that several commands share."""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from stop_harness.cli import completion
from stop_harness.conductor.exit_codes import EXIT_CODES
from stop_harness.conductor.settings import ENVIRONMENT_PREFIX, SETTINGS

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_CODES = ", ".join(f"{code.number}\xa0{code.short}" for code in EXIT_CODES)  # a number is not cut off from its meaning
EXIT_CODES_HELP = "\b\n" + textwrap.fill(f"Exit codes: {_CODES}.", width=70).replace("\xa0", " ")


def option(*names: str, **kwargs: Any) -> Callable[[Decorated], Decorated]:
    """A click option that `STOP_HARNESS_<NAME>` sets too, where it is one of the settings."""
    name = names[0].removeprefix("--").replace("-", "_")
    if name in SETTINGS:
        kwargs.update(envvar=ENVIRONMENT_PREFIX + name.upper(), show_envvar=True)
    return click.option(*names, **kwargs)


def options(*several: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Put several options on a command, in reading order."""

    def decorate(command: Decorated) -> Decorated:
        for each in reversed(several):
            command = each(command)
        return command

    return decorate


def pids_limit(_context: click.Context, _parameter: click.Parameter, given: str | None) -> int | None:
    """The number of `--pids-limit`, by the rule of scenario files. Raises BadParameter with what is allowed."""
    if given is None:
        return None
    from stop_harness.scenario import values

    try:
        return values.pids_limit(int(given) if re.fullmatch(r"-?[0-9]{1,10}", given) else given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


ENGINE = option(
    "--engine",
    default="auto",
    metavar="NAME",
    shell_complete=completion.engines,
    help="Where containers run: auto, docker, process or ecs.  [default: auto]",
)
COLOR = option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="When to colour the output."
)
MANNER = (
    click.option(
        "--json", "as_json", is_flag=True, help="Print the results as JSON, and nothing else on standard output."
    ),
    click.option("-q", "--quiet", is_flag=True, help="Show no progress; say the answer, and what did not pass."),
    click.option("-v", "--verbose", is_flag=True, help="Show what builds write, and say the engine's own time."),
    COLOR,
)
"""How a run is told; see `session.Manner`."""
BASE_IMAGE = option(
    "--base-image", metavar="IMAGE", help="Replace the base image of Dockerfiles that have ARG BASE_IMAGE."
)
REPEAT = option("--repeat", type=click.IntRange(1, 10_000), metavar="N", help="Repeat each stop this many times.")
JOBS = option("--jobs", default="auto", metavar="N|auto", help="Run at most this many trials at once.  [default: auto]")
REPORT_DIR = option(
    "--report-dir", type=click.Path(path_type=Path, file_okay=False), help="Write the report into a new folder in here."
)
JUNITXML = option(
    "--junitxml", type=click.Path(path_type=Path, dir_okay=False), help="Also write JUnit XML to this file."
)
SARIF = option("--sarif", type=click.Path(path_type=Path, dir_okay=False), help="Also write SARIF 2.1.0 to this file.")
CODE_QUALITY = option(
    "--code-quality",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write GitLab's code quality report to this file.",
)
GITHUB = option(
    "--github",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="When to write annotations and a step summary for GitHub Actions.",
)
SHARD = option("--shard", metavar="I/N", help="Run only part I of N. The parts are the same on every machine.")
SEED = option("--seed", type=int, metavar="N", help="Shuffle trials that last equally long, by this seed.")
KEEP = option("--keep", is_flag=True, help="Keep the containers of trials that did not pass.")
FAIL_FAST = option("--fail-fast", is_flag=True, help="End the run at the first failure.")
FAST = option("--fast", is_flag=True, help="End a stop early if the process table shows how it would end.")
INFER = option(
    "--infer", is_flag=True, help="Stop with the longest timeout only and derive what shorter ones would give."
)
CLUSTER = option("--cluster", metavar="NAME", help="Run tasks in this cluster, with --engine ecs.  [default: default]")
RUN_TASK = option(
    "--run-task",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add the input of RunTask in this JSON file, such as launchType, with --engine ecs.",
)
FRACTION = click.FloatRange(0, 1, min_open=True, max_open=True)
EFFORT = (
    FAST,
    INFER,
    option(
        "--until-sure",
        is_flag=True,
        help="Repeat stops until they are shown to be graceful, see --confidence and --reliability.",
    ),
    option(
        "--confidence",
        type=FRACTION,
        default=0.95,
        metavar="C",
        help="How certain --until-sure has to be.  [default: 0.95]",
    ),
    option(
        "--reliability",
        type=FRACTION,
        default=0.99,
        metavar="R",
        help="What share of stops --until-sure has to show to be graceful.  [default: 0.99]",
    ),
    option(
        "--max-repeat", type=click.IntRange(1, 100_000), metavar="N", help="Give up --until-sure after N repetitions."
    ),
    option("--max-time", metavar="DURATION", help="Begin no further repetition of --until-sure after this time."),
)
TRAFFIC = (
    option(
        "--traffic-http", metavar="PORT[/PATH]", help="Send requests while it stops, and say which of them are lost."
    ),
    option("--traffic-http2", metavar="PORT[/PATH]", help="Send requests on HTTP/2 connections, and look for GOAWAY."),
    option("--traffic-grpc", metavar="PORT/SERVICE/METHOD", help="Make unary gRPC calls with an empty message."),
    option(
        "--traffic-websocket",
        metavar="PORT[/PATH]",
        help="Hold a WebSocket, and look for a close frame; see --traffic-message.",
    ),
    option("--traffic-sse", metavar="PORT[/PATH]", help="Read Server-Sent Events, and see whether one is cut."),
    option("--traffic-stream", metavar="PORT[/PATH]", help="Read an answer that never ends."),
    option("--traffic-keep-alive", metavar="PORT[/PATH]", help="Hold a connection after a finished request."),
    option(
        "--traffic-new-connections",
        metavar="PORT[/PATH]",
        help="Send requests on fresh connections during the stop, until they are refused.",
    ),
    option("--traffic-idle", metavar="PORT", help="Hold an idle connection to this port while it stops."),
    option("--traffic-message", metavar="TEXT", help="Send this on the WebSocket and await its answer at the stop."),
    option("--traffic-tls", is_flag=True, help="Speak TLS with all of these clients."),
    option(
        "--through",
        type=click.Choice(["load_balancer"]),
        help="Send --traffic-http as a load balancer does, which hears late that the container goes.",
    ),
    option("--propagation", metavar="DURATION", help="Let it send new requests for so long.  [default: 2s]"),
    option("--deregistration-delay", metavar="DURATION", help="Let it cut requests that run longer.  [default: 5m]"),
    option(
        "--stop-delay", metavar="DURATION", help="Stop so long after it was told, as after a preStop hook that sleeps."
    ),
    option(
        "--clients",
        type=click.IntRange(1, 5000),
        metavar="N",
        help="Have so many clients of each kind.  [default: 2 where an answer is awaited, else 1]",
    ),
)
FAULT = click.option(
    "--fault",
    "fault",
    multiple=True,
    metavar="KIND=VALUE@MOMENT[:LENGTH]",
    help="Let something go wrong around the stop, such as cpu=0.2@with or pause@500ms:2s. May be repeated.",
)
FAULTS = option(
    "--faults",
    metavar="NAME[,NAME...]",
    help="Try every stop also under these standard faults, each beside the undisturbed one; standard: all of them.",
)
PARAMETER = click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a parameter of the CloudFormation template that a task definition is in. May be repeated.",
)
SHOW_VALUES = option("--show-values", is_flag=True, help="Show the values of environment variables in the report.")
SHARE_REPORT = option(
    "--share-report", is_flag=True, help="Let other users read the report, as far as the umask allows."
)
WITNESS = option(
    "--witness",
    is_flag=True,
    help="Add a small container that sees every process of the engine's machine, if silent kills cannot be proved "
    "without it.",
)
TRY_FIXES = option(
    "--try-fixes", is_flag=True, help="Try changes that may cure a bad stop, and report which of them do."
)
BASELINE = option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="RUN_DIR",
    help="Say what changed since this run, such as reports/latest.",
)
FAIL_ON_SLOWER = option("--fail-on-slower", is_flag=True, help="Exit with 1 if a stop is slower than in the baseline.")
RESUME = option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN_DIR",
    help="Finish this run instead of running PATHS.",
)
WATCH_FILES = option(
    "--watch-files", is_flag=True, help="Try again whenever a file changes that is built or read, until Ctrl-C."
)
PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
PATHS_OR_RESUME = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))


class Command(click.Command):
    """A command that refuses an option that is given twice, where one value is all that it takes.

    The usual rule, "the last one counts", would check one container and leave the other unmentioned.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises UsageError that names the option."""
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            single = [item for item in given if isinstance(item, click.Option) and not (item.multiple or item.is_flag)]
            for option in single:
                if single.count(option) > 1:
                    raise click.UsageError(f"{option.opts[0]} is given more than once; it takes one value.", ctx)
        return super().parse_args(ctx, args)


class Commands(click.Group):
    """A group of such commands.

    `elsewhere`: those that have a file of their own, name → `module:attribute`; it is imported when the command is
    called or its help is shown.
    """

    command_class = Command

    def __init__(self, *arguments: Any, elsewhere: Mapping[str, str] | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._elsewhere = elsewhere or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, in alphabetical order."""
        return sorted({*super().list_commands(ctx), *self._elsewhere})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """None: there is no such command."""
        if cmd_name not in self.commands and cmd_name in self._elsewhere:
            module, _, attribute = self._elsewhere[cmd_name].partition(":")
            self.add_command(getattr(importlib.import_module(module), attribute), cmd_name)
        return super().get_command(ctx, cmd_name)


class GroupedCommand(Command):
    """A command with so many options that `--help` shows them in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One heading a group, in the order of `option_groups.GROUPS`."""
        from stop_harness.cli import option_groups

        for title, rows in option_groups.grouped(self.get_params(ctx), ctx):
            with formatter.section(title):
                formatter.write_dl(rows)


class CommandBehind(Command):
    """Takes everything behind `--` as a command of its own, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split at the first `--`."""
        if "--" in args:
            at = args.index("--")
            args, ctx.meta["command"] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)


class CheckCommand(CommandBehind, GroupedCommand):
    """With the subject's command behind `--`."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Also the options of the container, from a table that is loaded late: `--help` of all commands needs none."""
        from stop_harness.cli.container_options import CONTAINER_OPTIONS

        if CONTAINER_OPTIONS[0] not in self.params:
            self.params += CONTAINER_OPTIONS
        return super().get_params(ctx)
