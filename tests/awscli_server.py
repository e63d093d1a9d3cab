"""Run by the Python of the AWS CLI: a call of `aws` a line of JSON in, its exit code out.

Each call is a process of its own, a copy of this one, in which the CLI's modules have been imported: the code of `aws`
itself, without the four fifths of its time that its start takes. What it writes goes to the files that the call names.
"""

import json
import os
import sys
import time

import awscli.clidriver
import awscli.handlers

DATA_PATH = os.environ["AWS_DATA_PATH"]
"""Set by the import."""


def main() -> int:
    """Until standard input ends; in a copy, the exit code of its call."""
    for line in sys.stdin:
        asked = json.loads(line)
        copy = os.fork()
        if copy == 0:
            return call(**asked)
        print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]), flush=True)
    return 0


def call(arguments: list[str], environment: dict[str, str], folder: str, out: str, err: str) -> int:
    """What `/usr/bin/aws` does, with this environment alone and without an input."""
    os.environ.clear()
    os.environ.update(environment, AWS_DATA_PATH=DATA_PATH)
    time.tzset()
    os.chdir(folder)
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.argv = ["aws", *arguments]
    code: int = awscli.clidriver.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
