"""Run by the Python of the AWS CLI's package: lines of JSON in, what its own formatters make of them out.

One process for hundreds of values, where a call of `aws` takes a second each.
"""

import io
import json
import sys
import types

import colorama
from awscli.formatter import get_formatter


class _Query:
    """Stands for `--query`: the CLI then formats whatever it finds."""

    def __init__(self, found: object) -> None:
        self.found = found

    def search(self, _response: object) -> object:
        """The value itself."""
        return self.found


class _Stream(io.StringIO):
    """As colorama writes to standard output where colours are on: with a reset after every piece."""

    def __init__(self, reset: str) -> None:
        super().__init__()
        self.reset = reset

    def write(self, text: str) -> int:
        """The text, and the reset."""
        return super().write(text + self.reset)


def main() -> None:
    """Until standard input ends."""
    colorama.init = lambda **_options: None  # it would wrap standard output once a value
    for line in sys.stdin:
        asked = json.loads(line)
        colour = "on" if asked["colour"] else "off"
        stream = _Stream("\033[0m" if asked["colour"] and asked["format"] == "table" else "")
        options = types.SimpleNamespace(color=colour, query=_Query(asked["value"]), output=asked["format"])
        try:
            get_formatter(asked["format"], options)("StopTask", {"task": {}}, stream)
            print(json.dumps(stream.getvalue()), flush=True)
        except Exception:  # noqa: BLE001 - a value that the CLI cannot show: it ends with an error, whichever
            print("null", flush=True)


if __name__ == "__main__":
    main()
