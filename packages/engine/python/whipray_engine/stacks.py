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
    """Where the calls of async methods wait."""
    import asyncio

    try:
        tasks = list(asyncio.all_tasks(loop))
    except RuntimeError:  # the set of tasks changed while it was read
        return ["(the tasks of the loop changed while they were read)"]
    lines = []
    for task in tasks[:_TASKS]:
        lines.append("Task %s:" % task.get_name())
        for frame in task.get_stack(limit=_FRAMES):
            lines.extend(_frames(frame)[:1])
    return lines
