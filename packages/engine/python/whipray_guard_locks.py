"""The lock files of devices: one owner at a time, also after a guard that was killed (see GUARD.md)."""

import errno
import fcntl
import json
import os
import signal
import stat
import time

from whipray_guard_io import MAX_MESSAGE_CHARS, TREE_KEY, all_processes, carries, os_bytes, parse_object, send_signal

MAX_HOLDER_BYTES = 4096
MAX_NAME_CHARS = 128
LOCK_WAIT_S = 1.0
"""How long a refused lock is tried again: an exclusive holder is only writing its name, a shared one may be just leaving."""
RAYLET_KEY = "WHIPRAY_RAYLET"
GUARD_FILE = b"whipray_guard.py"


def take_locks(paths, me, wait_s=LOCK_WAIT_S):
    """Holds all lock files shared, in our name: returns (descriptors, None), or (None, the refusal to report)."""
    deadline = time.monotonic() + wait_s
    held = []
    for path in paths:
        fd, holder, message = None, None, None
        while fd is None:
            try:
                fd, holder = try_lock(path, me)
                message = "another cluster or raylet holds this lock"
            except OSError as error:
                message = str(error)[:MAX_MESSAGE_CHARS]
            if fd is None and time.monotonic() > deadline:
                for other in held:
                    os.close(other)
                return None, {"path": path, "holder": holder, "message": message}
            if fd is None:
                time.sleep(0.01 + os.urandom(1)[0] / 10000)  # uneven, or two that probe in step refuse each other for ever
        held.append(fd)
    return held, None


def try_lock(path, me):
    """One attempt: (descriptor, None), or (None, the holder as far as it is known).

    Who gets the file exclusively writes its name, then shares it. That conversion is not atomic: another may slip in between,
    write its own name and share it too. So the name is read again under the shared lock, where nobody can change it any more.
    """
    fd = open_lock(path)
    try:
        if flock(fd, fcntl.LOCK_EX):
            before = (parse_object(os.pread(fd, MAX_HOLDER_BYTES, 0)) or {}).get("raylet")
            if is_name(before) and before != me["raylet"]:
                end_orphans(before)
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(me).encode(), 0)
        if flock(fd, fcntl.LOCK_SH):
            holder = parse_object(os.pread(fd, MAX_HOLDER_BYTES, 0))
            ours = holder is not None and all(holder.get(key) == me[key] for key in ("cluster", "raylet"))
            if ours and os.path.samestat(os.fstat(fd), os.stat(path)):  # nobody removed the file before we held it
                held, fd = fd, -1
                return held, None
            return None, holder
        return None, None
    finally:
        if fd >= 0:
            os.close(fd)


def open_lock(path):
    """Opens a lock file, perhaps another user's, in a folder where anybody may have put anything: never through a link of any kind."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        # Not at once: Linux refuses O_CREAT for another user's file in such a folder (fs.protected_regular).
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        if os.stat(os.path.dirname(path)).st_mode & 0o002:
            os.fchmod(fd, 0o666)  # the folder is for all users, and so is the device
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(fd)
        raise OSError(errno.EPERM, "it is no plain file, or one with a second name")
    return fd


def flock(fd, how):
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def is_name(value):
    """Whether it can be an incarnation: anybody may have written it."""
    return isinstance(value, str) and len(value) <= MAX_NAME_CHARS and value.isascii() and value.replace("_", "").isalnum()


def end_orphans(raylet):
    """Ends what guards of this raylet left that were killed themselves. Raises as long as anything of it is there.

    The lock is free, so its last holder's guard is gone; but a guard that is killed takes only its root along. Whoever carries the
    raylet's mark and that of a guarded tree, and has no guard above it any more, is doomed, whoever says so: a name in a lock file
    that another user may have written can harm nobody else.
    """
    everyone = all_processes()
    marks = (os_bytes("\0%s=%s\0" % (RAYLET_KEY, raylet)), os_bytes("\0%s=" % TREE_KEY))
    left = []
    for process in everyone.values():
        if process.state in "ZX" or not carries(process.pid, *marks) or is_guarded(process, everyone):
            continue
        send_signal(process, signal.SIGKILL)
        left.append(process.pid)
    if left:
        raise OSError(errno.EBUSY, "what guards of %s left is still there: pid %s" % (raylet, ", ".join(map(str, left))))


def is_guarded(process, everyone):
    above = set()
    while process.parent in everyone and process.parent not in above:
        process = everyone[process.parent]
        above.add(process.pid)
        try:
            with open("/proc/%d/cmdline" % process.pid, "rb") as file:
                if GUARD_FILE in file.read():
                    return True
        except OSError:
            pass  # it has just ended
    return False
