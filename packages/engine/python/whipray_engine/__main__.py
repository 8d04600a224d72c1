"""`python -m whipray_engine`: the main thread belongs to user code, one other to the link."""

import faulthandler
import os
import sys

from .errors import HostError
from .exits import EXIT_CONFIG, EXIT_PROTOCOL, EXIT_REFUSED, EXIT_UNREACHABLE, leave, say
from .frame import GOODBYE, frame
from .handshake import Refused, dial
from .host import Host
from .limits import SHUTDOWN_GRACE_MS
from .link import Link
from .settings import Settings, SettingsError

_FLUSH_SECONDS = 1.0
_OOM_SCORE_ADJ = "1000"  # where memory runs out the kernel is to end this process, and not the raylet that would tell of it


def _prefer_as_victim():
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(_OOM_SCORE_ADJ)
    except OSError:
        pass  # no Linux, or a sandbox that forbids it: the kernel chooses by itself


def main():
    try:
        settings = Settings(dict(os.environ))
        sock, splitter = dial(settings)
    except SettingsError as error:
        return _failed(EXIT_CONFIG, "CONFIG: %s" % error)
    except Refused as error:
        return _failed(EXIT_REFUSED, "refused by the worker: %s: %s" % (error.code, error))
    except HostError as error:
        return _failed(EXIT_PROTOCOL, "%s: %s" % (error.code, error))
    except OSError as error:
        return _failed(EXIT_UNREACHABLE, "UNREACHABLE: %s: %s" % (os.environ.get("WHIPRAY_ENGINE_SOCKET"), error))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True)  # the log shows a line when it is written, not when 8 KiB are full
    faulthandler.enable()  # a crash in C code leaves its Python stacks in the log; the signal stays
    _prefer_as_victim()
    link = Link(sock, splitter, settings)
    host = Host(link, settings)
    link.start(host)
    try:
        host.runner.run()
        return 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        link.exit_code = code
        link.ending = True
        link.call_soon(link.timers.at, SHUTDOWN_GRACE_MS, leave, code)  # a thread of user code may keep the interpreter
        raise
    finally:
        link.flush(_FLUSH_SECONDS)
        link.call_soon(link.worker.control, frame(GOODBYE))
        link.flush(_FLUSH_SECONDS)


def _failed(code, text):
    say(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
