"""`stop-harness stop-task`: `aws ecs stop-task`, and the stop measured.

    options ─▶ Request ─▶ StopTask ─▶ answer ─▶ formats           (--no-wait: as the AWS CLI prints it)
    cli.py     request.py  service.py    └────▶ DescribeTasks… ─▶ MeasuredStop ─▶ sentences
                                                 follow.py        ecs_client/measure.py      wording

It meets the ECS endpoint of this project, and Amazon's, on the wire only.
"""
