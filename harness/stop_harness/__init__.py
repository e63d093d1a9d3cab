"""stop-harness: does my container shut down gracefully, and if not, why?

    scenario file ─▶ Scenario ─▶ Trial… ─▶ Observation ─▶ facts ─▶ Verdict ─▶ Report ─▶ terminal, JSON, HTML, …
        scenario/       plan/      trial/      evidence/    verdict/    report/    renderers/
                                     │
                                  engines/  (docker · process · ecs · simulated)

Start with `model/` (the nouns, in flow order) and `run/pipeline.py` (the verbs, in flow order).
"""

from stop_harness._version import VERSION as __version__

__all__ = ["__version__"]
