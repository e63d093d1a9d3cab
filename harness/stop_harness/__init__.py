"""stop-harness: does my container shut down gracefully, and if not, why?

    scenario file ─▶ Scenario ─▶ Plan(Trial…) ─▶ Observation ─▶ Verdict ─▶ Report ─▶ terminal, JSON, HTML, …
      scenario/scenario_file.py     plan/trials.py      trial/perform.py         verdict/judge.py    report/build.py   renderers/
                                      │
                                   engines/  (docker_api · pid_namespace · simulated)

Start with `model/` (the nouns, in flow order) and `run/pipeline.py` (the verbs, in flow order).
"""

from stop_harness._version import VERSION as __version__

__all__ = ["__version__"]
