"""A worker whose tasks do what tests want."""

from __future__ import annotations

import os
import sys
import time

from cellbrook.errors import UsageError
from cellbrook.server.worker import Channel, serve


def wait(call, args):
    """Take a while, in steps that can be cancelled."""
    call.start("waiting", args["steps"])
    for _ in range(args["steps"]):
        call.check_cancelled()
        time.sleep(args.get("step_s", 0.01))
        call.advance()
    return {"pid": os.getpid(), "steps": args["steps"]}


def stubborn(call, args):
    """Hear nothing."""
    call.start("waiting", 1)
    time.sleep(60)
    return {}


def crash(call, args):
    """Die as a process does that the system ends."""
    os._exit(args.get("code", 3))


def noisy(call, args):
    """Print where the messages go."""
    sys.stdout.write("a library says hello")
    os.write(1, b"\xff\xff\xff\x7f and more")
    return {"said": True}


def part(call, args):
    """Send a part of the result, then wait."""
    call.partial({"part": 1})
    return wait(call, args)


def refuse(call, args):
    """Fail as expected."""
    raise UsageError("expected a cell, got a star: look elsewhere")


def break_down(call, args):
    """Fail as nobody expected."""
    raise ZeroDivisionError("oh")


if __name__ == "__main__":
    outgoing = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    tasks = {f.__name__: f for f in (wait, stubborn, crash, noisy, part, refuse, break_down)}
    serve(Channel(sys.stdin.buffer, outgoing), tasks.__getitem__)
