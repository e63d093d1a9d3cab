"""The options that several commands share, and the settings that may stand for them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from stop_harness.cli.exit_codes import EXIT_CODES

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_CODES = ", ".join(f"{code.number}\xa0{code.short}" for code in EXIT_CODES)  # a number is not cut off from its meaning
EXIT_CODES_HELP = "\b\n" + textwrap.fill(f"Exit codes: {_CODES}.", width=70).replace("\xa0", " ")

ENVIRONMENT_PREFIX = "STOP_HARNESS_"
SETTINGS = frozenset(
    {
        "engine",
        "report_dir",
        "jobs",
        "repeat",
        "junitxml",
        "sarif",
        "fail_fast",
        "keep",
        "seed",
        "base_image",
        "witness",
        "color",
        "show_values",
        "share_report",
    }
)
"""Options that `[tool.stop-harness]` and the environment may set."""


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
    help="Where containers run: auto, docker, process or ecs.  [default: auto]",
)
COLOR = option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="When to colour the output."
)
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
    """A group of such commands."""

    command_class = Command


class CheckCommand(Command):
    """Takes everything behind `--` as the subject's command, whatever it looks like."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Also the options of the container, from a table that is loaded late: `--help` of all commands needs none."""
        from stop_harness.cli.container_options import CONTAINER_OPTIONS

        if CONTAINER_OPTIONS[0] not in self.params:
            self.params += CONTAINER_OPTIONS
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split at the first `--`."""
        if "--" in args:
            at = args.index("--")
            args, ctx.meta["command"] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)
