"""The package's logger, for those who use it from Python."""

from __future__ import annotations

import logging

LOG = logging.getLogger("stop_harness")
"""Says what happens meanwhile: notes as warnings, what is prepared and each verdict as information."""

# Where no logging is configured each warning would else be written to the standard error, by logging's last resort.
LOG.addHandler(logging.NullHandler())
