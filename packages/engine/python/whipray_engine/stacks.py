"""All threads' stacks as text, without reading a source file: it must answer while the process is in trouble."""

import sys
import threading

_FRAMES = 100
_TASKS = 100


def stacks(loop=None):
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():
        lines.append("Thread %s (%d), most recent call first:" % (names.get(ident, "not of Python"), ident))
        lines.extend(_frames(frame))
    if loop is not None:
        lines.extend(_tasks(loop))
    return "\n".join(lines) + "\n"


def _frames(frame):
    lines = []
    while frame is not None and len(lines) < _FRAMES:
        code = frame.f_code
        lines.append('  File "%s", line %d in %s' % (code.co_filename, frame.f_lineno or 0, code.co_name))
        frame = frame.f_back
    return lines


def _tasks(loop):
    """Where the calls of async methods wait: each task from its outermost coroutine inwards."""
    import asyncio

    try:
        tasks = list(asyncio.all_tasks(loop))
    except RuntimeError:  # the set of tasks changed while it was read
        return ["(the tasks of the loop changed while they were read)"]
    lines = []
    for task in tasks[:_TASKS]:
        lines.append("Task %s, outermost call first:" % task.get_name())
        awaited = task.get_coro()
        for _ in range(_FRAMES):
            frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None) or getattr(awaited, "ag_frame", None)
            if frame is None:
                break
            lines.extend(_frames(frame)[:1])
            awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None) or getattr(awaited, "ag_await", None)
    return lines
