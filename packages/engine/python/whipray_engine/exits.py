"""How this process ends, and what its exit codes mean."""

import os
import sys
import threading

EXIT_DONE = 0
EXIT_STUCK = 1
"""`shutdown`: an engine did not end within the grace."""
EXIT_PROTOCOL = 70
EXIT_UNREACHABLE = 75
EXIT_REFUSED = 77
EXIT_CONFIG = 78

_FLUSH_SECONDS = 0.2


def say(text):
    """A line on stderr, past Python's buffers: another thread may hold their locks."""
    try:
        os.write(2, ("whipray engine host: %s\n" % text).encode("utf-8", "replace"))
    except OSError:
        pass  # nobody reads stderr any more, and there is no other place to say it


def leave(code, text=None):
    """Ends the process now, whatever its threads do: no exit handlers, only stdout and stderr flushed."""
    if text is not None:
        say(text)
    flusher = threading.Thread(target=_flush, daemon=True)
    flusher.start()
    flusher.join(_FLUSH_SECONDS)  # a thread that hangs in a write holds the buffer's lock
    os._exit(code)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # closed or replaced by user code
