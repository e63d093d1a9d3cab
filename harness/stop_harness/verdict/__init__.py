"""Facts → Verdict. Pure."""
