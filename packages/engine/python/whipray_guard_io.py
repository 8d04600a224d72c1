"""Touches of the guard with the outside: the raylet's socket, /proc, signals, fork (see GUARD.md); lock files are in whipray_guard_locks.py."""

import ctypes
import json
import os
import signal
import socket
import time

MAX_LINE_BYTES = 64 << 10
MAX_OUTBOX_BYTES = 256 << 10
MAX_MESSAGE_CHARS = 500
CLUSTER_KEY = "WHIPRAY_CLUSTER"
TREE_KEY = "WHIPRAY_TREE"
"""In the environment of every guarded process, whatever its search key is."""
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def prctl(option, value):
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(%d) failed" % option)


def parse_object(data):
    """The JSON object in `data`, or None."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def os_bytes(text):
    """The bytes that exec gets: UTF-8 whatever our locale is, odd bytes carried as surrogates."""
    return text.encode("utf-8", "surrogateescape")


def settle():
    """Makes this process a guard: descriptors 0-2 and no others, its own session, deaf to the terminal, parent of all orphans."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listed them
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:  # a missing one must not become the socket's number
        os.set_inheritable(fd, True)
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)
    if os.getsid(0) != os.getpid():
        try:
            os.setsid()
        except PermissionError:
            pass  # the leader of a group, as under a shell with job control: that group is our own
    prctl(PR_SET_CHILD_SUBREAPER, 1)


class Lifeline:
    """Newline-delimited JSON to and from the raylet, bounded both ways; after the connect nothing here blocks."""

    def __init__(self, path, timeout_s):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        self.socket.connect(path)
        self.socket.setblocking(False)
        self.open = True
        self.inbox = b""
        self.outbox = bytearray()
        self.skipping = False

    def send(self, message):
        if self.open:
            waiting = len(self.outbox) > 0
            self.outbox += json.dumps(message, separators=(",", ":")).encode() + b"\n"
            if not waiting:
                self.flush()
            elif len(self.outbox) > MAX_OUTBOX_BYTES:
                self.open = False  # a raylet that reads nothing is as good as dead

    def flush(self):
        try:
            while self.outbox:
                del self.outbox[: self.socket.send(self.outbox)]
        except BlockingIOError:
            pass  # poll tells when there is room again
        except OSError:
            self.open = False

    def receive(self):
        """The messages that have come; None stands for a line that is too long or no JSON object. EOF closes."""
        try:
            chunk = self.socket.recv(MAX_LINE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            chunk = b""
        if not chunk:
            self.open = False
        *lines, self.inbox = (self.inbox + chunk).split(b"\n")
        messages = []
        for line in lines:
            messages.append(None if self.skipping or len(line) > MAX_LINE_BYTES else parse_object(line))
            self.skipping = False
        if len(self.inbox) > MAX_LINE_BYTES:
            self.inbox, self.skipping = b"", True
        return messages

    def finish(self):
        """The last lines get a second to leave; a stopped raylet must not keep us, and with us the locks."""
        if self.open:
            try:
                self.socket.settimeout(1.0)
                self.socket.sendall(self.outbox)
            except OSError:
                pass  # the raylet is gone, and so are we


class Process:
    """What /proc/<pid>/stat says. A process is its pid and its start time (ticks since boot), never a bare pid."""

    __slots__ = ("pid", "name", "state", "parent", "group", "start")

    def __init__(self, pid, data):
        opening, closing = data.index(b"("), data.rindex(b")")  # the name may hold spaces, parentheses, newlines
        fields = data[closing + 2:].split()
        self.pid = pid
        self.name = data[opening + 1:closing].decode("utf-8", "replace")
        self.state = fields[0].decode()
        self.parent, self.group, self.start = int(fields[1]), int(fields[2]), int(fields[19])

    @property
    def identity(self):
        return (self.pid, self.start)


def read_process(pid):
    try:
        fd = os.open("/proc/%d/stat" % pid, os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.read(fd, 4096)
        return Process(pid, data) if data else None
    except OSError:
        return None
    finally:
        os.close(fd)


def carries(pid, *marks):
    """Whether the environment that the process was started with holds all these."""
    try:
        with open("/proc/%d/environ" % pid, "rb", buffering=0) as file:
            environment = b"\0" + file.read() + b"\0"
            return all(mark in environment for mark in marks)
    except OSError:
        return False


def all_processes():
    """By pid."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def find_tree(guard_pid, mark):
    """(our processes, all processes) by pid. Ours: descendants of the guard, whoever carries the mark, and their descendants.

    Orphans come back to the guard, their subreaper, whatever session or group they made. Environments prove the rest, and only
    the rest: reading that of a process which hangs in the kernel can hang the reader.
    """
    everyone = all_processes()
    children = {}
    for process in everyone.values():
        children.setdefault(process.parent, []).append(process)
    ours = {}

    def adopt(process):
        waiting = [process]
        while waiting:
            one = waiting.pop()
            if one.pid != guard_pid and one.pid not in ours:
                ours[one.pid] = one
                waiting += children.get(one.pid, ())

    for child in children.get(guard_pid, ()):
        adopt(child)
    for process in everyone.values():
        if process.pid not in ours and process.pid != guard_pid and carries(process.pid, mark):
            adopt(process)
    return ours, everyone


def send_signal(process, number):
    """Signals exactly this process, or nobody: a pidfd pins the pid, then the start time proves whose it is."""
    pidfd = -1
    try:
        if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal"):
            pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # an old kernel or no descriptor left: the check below still leaves microseconds only
    try:
        now = read_process(process.pid)
        if now is None or now.start != process.start:
            return False
        if pidfd >= 0:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(process.pid, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def kill_groups(ours, everyone):
    """SIGKILL to every group that holds nobody else: one atomic call, so that a fork bomb cannot outrun it."""
    strangers = {process.group for pid, process in everyone.items() if pid not in ours}
    for group in {process.group for process in ours.values()} - strangers:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # gone meanwhile, or not ours to kill: the next sweep tells


def describe_exit(status):
    """What waitpid told, in the words of the protocol."""
    if not os.WIFSIGNALED(status):
        return {"code": os.WEXITSTATUS(status), "signal": None, "coreDumped": False}
    number = os.WTERMSIG(status)
    name = signal.Signals(number).name if number in set(signal.Signals) else "SIG%d" % number
    return {"code": None, "signal": name, "coreDumped": os.WCOREDUMP(status)}


def start_engine(config):
    """Forks and execs `argv`: returns (pid, None), or (None, {errno, message}) with nothing left running.

    The engine gets descriptors 0-2, the given environment and default signals; a group of its own, which is the terminal's foreground
    where there is one; and SIGKILL when the guard dies.
    """
    keys = {config["searchKey"]: config["lease"], TREE_KEY: config["lease"], CLUSTER_KEY: config["cluster"]}
    env = {os_bytes(key): os_bytes(value) for key, value in {**keys, **config["env"], **keys}.items()}
    argv = [os_bytes(word) for word in config["argv"]]
    guard_pid = os.getpid()
    reader, writer = os.pipe()  # closed by a successful exec
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # a signal between fork and exec must not run our handlers
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return None, {"errno": error.errno, "message": "fork: %s" % error}
    finally:
        if os.getpid() == guard_pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if pid == 0:
        step = "prepare"
        try:
            prepare_child(config["pdeathsig"], guard_pid)
            step = "cwd %s" % config["cwd"]
            os.chdir(os_bytes(config["cwd"]))
            step = "argv[0] %s" % config["argv"][0]
            os.execvpe(argv[0], argv, env)
        except BaseException as error:
            failure = {"errno": getattr(error, "errno", None), "message": ("%s: %s" % (step, error))[:MAX_MESSAGE_CHARS]}
            os.write(writer, json.dumps(failure).encode())
        finally:
            os._exit(127)
    os.close(writer)
    with open(reader, "rb") as report:
        failure = report.read()
    if failure:
        os.waitpid(pid, 0)
        return None, json.loads(failure)
    return pid, None


def prepare_child(pdeathsig, guard_pid):
    os.setpgid(0, 0)
    try:
        os.tcsetpgrp(0, os.getpid())  # Ctrl-C belongs to the rank
    except OSError:
        pass  # descriptor 0 is no terminal, or not that of our session
    if pdeathsig:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard_pid:
            os._exit(127)  # the guard died before the line above could tell the kernel
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
