"""In which group `--help` shows an option of `check` and `run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

CONTAINER = "Container"
GROUPS = {
    "Subject": "build compose profiles down task_definition kubernetes workload task_images task_name parameters "
    "container restart",
    CONTAINER: "env init memory pids_limit",  # and what `container_options` reads from its table
    "Ready": "ready_log ready_tcp ready_http ready_healthcheck ready_delay ready_timeout",
    "Stop": "timeouts stop_signal ended_by stop_delay sweep_start predict watch_files",
    "Faults": "fault faults",
    "Traffic": "traffic_http traffic_http2 traffic_grpc traffic_websocket traffic_sse traffic_stream "
    "traffic_keep_alive traffic_new_connections traffic_idle traffic_message traffic_tls clients through propagation "
    "deregistration_delay",
    "Expectation": "within exit_codes baseline fail_on_slower",
    "Certainty": "repeat fast infer until_sure confidence reliability max_repeat max_time try_fixes witness",
    "Plan": "shard seed fail_fast resume",
    "Engine": "engine cluster run_task base_image jobs keep",
    "Output": "as_json quiet verbose color report_dir junitxml sarif code_quality github share_report show_values",
}
"""Names of parameters by the title of their group, in the order of both."""


def group_of(name: str) -> str:
    """The title of an option's group. What stands in no group is an option of the container."""
    return next((title for title, names in GROUPS.items() if name in names.split()), CONTAINER)


def grouped(
    parameters: Sequence[click.Parameter], context: click.Context
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each group that has options, with the lines that click has for them; `--help` stands at the end."""
    rows: dict[str, list[tuple[int, tuple[str, str]]]] = {title: [] for title in GROUPS}
    for parameter in parameters:
        row = parameter.get_help_record(context)
        if row is None or isinstance(parameter, click.Argument):  # the usage line names those, and the text below it
            continue
        asks_for_help = isinstance(parameter, click.Option) and "--help" in parameter.opts
        title = "Output" if asks_for_help else group_of(parameter.name or "")
        order = GROUPS[title].split()
        rows[title].append((order.index(parameter.name) if parameter.name in order else len(order), row))
    for title, found in rows.items():
        if found:
            yield title, [row for _, row in sorted(found, key=lambda item: item[0])]
