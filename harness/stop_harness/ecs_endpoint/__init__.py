"""An ECS-compatible endpoint whose tasks are real containers of a container engine.

    client ─▶ server.py ─▶ wire.py ─▶ operations/ ─▶ agent.py ─▶ lifecycle.py (pure)
               HTTP        botocore's  one file        one thread  what the task is now,
                           own model   a noun          a container what must be done next
                                                         │
                                                     containers.py: docker_containers.py · simulated_containers.py

Pure: `validation` (what ECS refuses of a task definition), `identifiers` (ARNs), `records` and `lifecycle` (life and
stop order of a task), `rollout` (services). What any reader of a task definition must know is in `ecs/`. The engine
`ecs` and `stop-task` meet this room only on the wire. Beside the API: `evidence`, `own_resources`. `answers_first`
keeps a burst of stops from delaying its own answers.
"""
