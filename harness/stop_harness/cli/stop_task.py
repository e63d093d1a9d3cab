"""`stop-harness stop-task`: its options, and where it prints what. Everything else is imported when it runs.

The options are those of `aws ecs stop-task`, and `--no-wait`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from stop_harness._version import VERSION
from stop_harness.cli.options import Command
from stop_harness.errors import StopHarnessError, missing_extra

if TYPE_CHECKING:
    from stop_harness.ecs_client.failures import ClientFailure
    from stop_harness.ecs_client.measure import Followed
    from stop_harness.ecs_client.service import Ecs
    from stop_harness.model import Verdict

EPILOG = """\b
Exit codes: 0 stopped gracefully, 1 a container was killed or crashed,
2 bad usage, or ECS refused, 3 inconclusive, 4 ECS unreachable,
130 interrupted (the task stops all the same).
With --no-wait those of the AWS CLI: 0, 252 usage, 253 credentials or region,
254 an error of ECS, 255 anything else."""

PASS, FAIL, INCONCLUSIVE, USAGE_EXIT_CODE = 0, 1, 3, 252
SKELETONS = ("input", "yaml-input", "output")
FORMATS = ("json", "text", "table", "yaml", "yaml-stream")


class StopTaskCommand(Command):
    """With `--no-wait` a wrong command line is reported as the AWS CLI reports it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Exit code 252; and as in the AWS CLI the last of several values of an option counts."""
        as_aws = "--no-wait" in args
        try:
            return click.Command.parse_args(self, ctx, args) if as_aws else super().parse_args(ctx, args)
        except click.UsageError as error:
            if not as_aws:
                raise
            click.echo(f"\n{ctx.get_usage()}\n\nstop-harness: error: {error.format_message()}\n", err=True)
            sys.exit(USAGE_EXIT_CODE)


class Refusal(StopHarnessError):
    """A failure while a stop is followed, with its own exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@click.command(cls=StopTaskCommand, epilog=EPILOG, short_help="Stop a running ECS task and judge how it shut down.")
@click.option("--cluster", metavar="NAME|ARN", help="The task runs in this cluster.  [default: default]")
@click.option("--task", metavar="ID|ARN", help="Stop this task.")
@click.option("--reason", metavar="TEXT", help="Give this reason, which is shown as stoppedReason.")
@click.option("--no-wait", is_flag=True, help="Do not follow the stop; print what `aws ecs stop-task` prints.")
@click.option("--cli-input-json", metavar="JSON", help="Take parameters from JSON or file://PATH; options come first.")
@click.option("--cli-input-yaml", metavar="YAML", help="Take parameters from YAML or file://PATH; options come first.")
@click.option(
    "--generate-cli-skeleton",
    "skeleton",
    is_flag=False,
    flag_value="input",
    type=click.Choice(SKELETONS),
    help="Print a template of the input or of the answer; send nothing.",
)
@click.option("--output", type=click.Choice(FORMATS), help="Print the task in this format on standard output.")
@click.option("--query", metavar="JMESPATH", help="Print only this part of the task.")
@click.option("--endpoint-url", metavar="URL", help="Send the request here, such as to `stop-harness ecs serve`.")
@click.option("--profile", metavar="NAME", help="Use this profile of ~/.aws/config.")
@click.option("--region", metavar="NAME", help="Use this region instead of AWS_REGION's or the profile's.")
@click.option(
    "--color", "colour", type=click.Choice(["on", "off", "auto"]), default="auto", help="When to colour the output."
)
@click.option("--no-sign-request", is_flag=True, help="Send no signature. Needs no credentials.")
@click.option("--no-verify-ssl", is_flag=True, help="Do not check the server's certificate.")
@click.option("--ca-bundle", metavar="FILE", help="Check the server's certificate against these.")
@click.option(
    "--cli-read-timeout", type=int, metavar="S", help="Wait this long for an answer; 0 waits forever.  [default: 60]"
)
@click.option(
    "--cli-connect-timeout",
    type=int,
    metavar="S",
    help="Wait this long for a connection; 0 waits forever.  [default: 60]",
)
@click.option(
    "--cli-binary-format",
    type=click.Choice(["base64", "raw-in-base64-out"]),
    help="Accepted for compatibility; has no effect here.",
)
@click.option("--no-paginate", is_flag=True, help="Accepted for compatibility; the answer has one page.")
@click.option("--no-cli-pager", is_flag=True, help="Do not use a pager.")
@click.option("--cli-auto-prompt", "prompt", is_flag=True, help="Ask for parameters that are missing.")
@click.option("--no-cli-auto-prompt", "no_prompt", is_flag=True, help="Never ask for parameters.")
@click.option("--debug", is_flag=True, help="Log requests and answers.")
@click.version_option(VERSION, prog_name="stop-harness")
def stop_task(*, no_wait: bool, **given: Any) -> None:
    """Stop a running ECS task and say how each of its containers shut down.

    The task is followed until it has STOPPED.

    \b
    stop-harness stop-task --task 4ae5…c0f2 --endpoint-url http://127.0.0.1:8123
    stop-harness stop-task --task 4ae5…c0f2 --no-wait   # what aws ecs stop-task prints

    The verdict goes to standard output. With --output or --query the final task goes there, and the verdict to
    standard error. --task, --cluster and --reason take file://PATH too.
    """
    from stop_harness.ecs_client.failures import ClientFailure

    try:
        _stop_task(given, no_wait=no_wait)
    except ClientFailure as failure:
        _give_up(failure, as_aws=no_wait)


def _give_up(failure: ClientFailure, *, as_aws: bool) -> NoReturn:
    if as_aws:
        click.echo(f"\n{failure}", err=True)
        sys.exit(failure.kind.aws_exit_code)
    raise Refusal(str(failure), failure.kind.exit_code)


def _stop_task(given: dict[str, Any], *, no_wait: bool) -> None:
    from stop_harness.ecs_client.failures import ClientFailure, Kind

    if (missing := missing_extra("ecs", "stop-task")) is not None:
        raise ClientFailure(Kind.USAGE, str(missing))
    from stop_harness.ecs_client import request
    from stop_harness.ecs_client.service import Ecs, Settings

    if given["prompt"] and given["no_prompt"]:
        both = "Both --cli-auto-prompt and --no-cli-auto-prompt cannot be specified at the same time."
        raise ClientFailure(Kind.USAGE, both)
    query = _compiled(given["query"])
    ecs = Ecs(
        Settings(
            endpoint_url=given["endpoint_url"],
            verify_ssl=not given["no_verify_ssl"],
            profile=given["profile"],
            region=given["region"],
            sign=not given["no_sign_request"],
            ca_bundle=given["ca_bundle"],
            read_timeout_s=given["cli_read_timeout"],
            connect_timeout_s=given["cli_connect_timeout"],
            debug=given["debug"],
        )
    )
    options = {name: given[name] for name in request.MEMBERS}
    inputs = given["cli_input_json"], given["cli_input_yaml"]
    if given["prompt"] or (sys.stdin.isatty() and not given["no_prompt"] and _asks(ecs, options, inputs)):
        options = _ask_for(options)
    parameters = request.parameters(options, *inputs)
    if given["skeleton"] in {"input", "yaml-input"}:
        as_yaml = given["skeleton"] == "yaml-input"
        click.echo(request.yaml_input_skeleton() if as_yaml else request.input_skeleton(), nl=False)
        return
    if "task" not in parameters and inputs == (None, None):
        raise ClientFailure(Kind.USAGE, "the following arguments are required: --task")
    answers = _Answers(ecs, given, query)
    if given["skeleton"]:
        shape = ecs.output_shape()
        ecs.check(parameters)
        answers.show(request.output_skeleton(shape))
        return
    if no_wait:
        answers.show(ecs.stop_task(parameters))
    else:
        sys.exit(_followed(ecs, parameters, answers, given))


def _asks(ecs: Ecs, options: dict[str, str | None], inputs: tuple[str | None, ...]) -> bool:
    """Whether the configuration wants questions: always, or for what is required (`on-partial`)."""
    missing = options["task"] is None and inputs == (None, None)
    return {"on": True, "on-partial": missing}.get(ecs.auto_prompt(), False)


def _followed(ecs: Ecs, parameters: dict[str, Any], answers: _Answers, given: dict[str, Any]) -> int:
    """Stop the task, follow it to its end, print what the stop came to, and give the exit code."""
    import time

    from stop_harness.ecs_client import follow
    from stop_harness.ecs_client.looks import Looking

    looking, cluster = Looking(ecs), parameters.get("cluster")
    looking.before_stop(cluster, parameters.get("task", ""))
    called_at_ns = time.monotonic_ns()
    answer = ecs.stop_task(parameters)
    width = _width()
    try:
        final, followed = follow.follow(ecs, answer, cluster, looking, called_at_ns=called_at_ns, width=width)
    except follow.LostSight as lost:
        click.echo(f"inconclusive: {lost}", err=True)
        return INCONCLUSIVE
    except KeyboardInterrupt:
        click.echo("\nnot followed any longer; the task goes on stopping", err=True)
        raise
    return _judge(final, followed, answers, given, width)


def _judge(final: dict[str, Any], followed: Followed, answers: _Answers, given: dict[str, Any], width: int) -> int:
    """Print what a stop came to, and give the exit code."""
    from stop_harness.cli import terminal_output
    from stop_harness.ecs_client import measure
    from stop_harness.renderers.sections import stop_task_text
    from stop_harness.verdict import judge as verdict

    seen = measure.observation(followed)
    judged = verdict.judge(seen, measure.scenario(followed))
    wanted = given["output"] is not None or given["query"] is not None
    stream = sys.stderr if wanted else sys.stdout
    colour = _is_coloured(given["colour"], terminal=stream.isatty())
    text = stop_task_text.render(followed, seen, judged, width=width, colour=colour)
    click.echo(terminal_output.in_its_letters(text, stream), nl=False, err=wanted, color=colour)
    if wanted:
        answers.show({"task": final}, paged=False)
    return _exit_code(judged)


def _exit_code(verdict: Verdict) -> int:
    from stop_harness.model import Outcome, Status

    if verdict.outcome is Outcome.NOT_RUNNING:
        return INCONCLUSIVE  # nothing was stopped, so that no container can have failed
    return {Status.PASS: PASS, Status.FAIL: FAIL, Status.INCONCLUSIVE: INCONCLUSIVE}[verdict.status]


def _is_coloured(choice: str, *, terminal: bool) -> bool:
    """`--color`; `auto` heeds NO_COLOR."""
    return terminal and not os.environ.get("NO_COLOR") if choice == "auto" else choice == "on"


def _width() -> int:
    import shutil

    return min(120, shutil.get_terminal_size((80, 24)).columns)


def _ask_for(options: dict[str, str | None]) -> dict[str, str | None]:
    """On the terminal, what no option gave; an empty answer gives none."""
    from stop_harness.ecs_client.failures import ClientFailure, Kind

    if not sys.stdin.isatty():
        raise ClientFailure(Kind.USAGE, "--cli-auto-prompt needs a terminal; give --task instead")
    return {
        name: value if value is not None else click.prompt(name, default="", show_default=False, err=True) or None
        for name, value in options.items()
    }


def _compiled(query: str | None) -> Any:
    """A JMESPath expression, None if there is none."""
    import jmespath

    from stop_harness.ecs_client.failures import ClientFailure, Kind

    if query is None:
        return None
    try:
        return jmespath.compile(query)
    except jmespath.exceptions.ParseError as error:
        raise ClientFailure(Kind.USAGE, f"Bad value for --query {query}: {error}") from None


class _Answers:
    """Standard output for answers: format, query, colour, pager."""

    def __init__(self, ecs: Ecs, given: dict[str, Any], query: Any) -> None:
        self._format = given["output"] or ecs.output_format()
        self._query = query
        self._terminal = sys.stdout.isatty()
        self._colour = _is_coloured(given["colour"], terminal=self._terminal)
        self._pager = "" if given["no_cli_pager"] or not self._terminal else ecs.pager()

    def show(self, answer: Any, *, paged: bool = True) -> None:
        """An answer, or the part that was asked for."""
        import shutil

        import jmespath

        from stop_harness.ecs_client import formats
        from stop_harness.ecs_client.failures import ClientFailure, Kind

        width = shutil.get_terminal_size().columns if self._terminal else formats.WIDTH_WITHOUT_TERMINAL
        try:
            value = answer if self._query is None else self._query.search(answer)
            text = formats.render(self._format, value, max_width=width, colour=self._colour)
        except (jmespath.exceptions.JMESPathError, formats.FormatError) as error:
            raise ClientFailure(Kind.OTHER, str(error)) from None
        if not (paged and self._pager and _page(self._pager, text)):
            click.echo(text, nl=False, color=self._colour)


def _page(pager: str, text: str) -> bool:
    """Whether a pager took it. `less` gets the options that the AWS CLI gives it: leave if it fits, keep colours."""
    import shlex
    import subprocess

    environment = {"LESS": "FRX", **os.environ}
    try:
        done = subprocess.run(shlex.split(pager), input=text.encode(), env=environment, check=False)  # nosec B603 # words, no shell
    except (OSError, ValueError):
        return False
    return done.returncode >= 0
