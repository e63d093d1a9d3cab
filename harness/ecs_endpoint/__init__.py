"""An ECS-compatible endpoint whose tasks are real containers of a container engine.

    client ─▶ server.py ─▶ wire.py ─▶ running.py ─▶ agent.py ─▶ tasks.py (pure)
               HTTP        botocore's   operations    one thread  what the task is now,
                           own model   services.py    a container what must be done next
                                                         │
                                                     containers.py (docker) · simulated_containers.py (scripts)

Pure: `grace` (stop timeouts), `definitions` (task definitions and their dependency graph), `identifiers` (ARNs),
`records` and `tasks` (lifecycle and stop order), `rollout` (services). They meet engines/ecs.py only on the wire.
Beside the API: `evidence`, `own_resources`. `answers_first` keeps a burst of stops from delaying its own answers.
"""
