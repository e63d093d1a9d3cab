"""An ECS-compatible endpoint whose tasks are real containers of a container engine.

    client ─▶ server.py ─▶ wire.py ─▶ running.py ─▶ agent.py ─▶ tasks.py (pure)
               HTTP        botocore's   operations    one thread  what the task is now,
                           own model   services.py    a container what must be done next
                                                         │
                                                     containers.py (docker) · ecs_endpoint/simulated_containers.py (scripts)

Pure: `definitions` (what is refused), `identifiers` (ARNs), `records` and `tasks` (lifecycle and stop order), `rollout`
(services). What any reader of a task definition must know is in `harness/ecs/`. Engine `ecs` and `stop-task` meet them
only on the wire. Beside the API: `evidence`, `own_resources`. `answers_first` keeps a burst of stops from delaying its
own answers.
"""
