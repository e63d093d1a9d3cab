"""stop-harness: does my container shut down gracefully, and if not, why?

    scenario file ─▶ Scenario ─▶ Plan(Trial…) ─▶ Observation ─▶ Verdict ─▶ Report ─▶ terminal, JSON, HTML, …
      scenario.py     plan.py      trial.py         verdict.py    report.py   renderers/
                                      │
                                   engines/  (docker_api · pid_namespace · simulated)

Start with `model/` (the nouns, in flow order) and `pipeline.py` (the verbs, in flow order).
"""

from harness._version import VERSION as __version__

__all__ = ["__version__"]
