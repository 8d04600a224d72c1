"""Start and exit: what the engine gets, and how its end is told."""

import json
import os
import resource
import signal

import pytest
from guard_raylet import PYTHON, alive, folder, raylet, raylets  # noqa: F401


def test_exit_code_7_is_told_as_7_and_the_guard_exits_with_0(raylet):
    raylet.start()
    exited = raylet.event("exited")
    assert exited == {"event": "exited", "pid": raylet.started["pid"], "code": 7, "signal": None, "coreDumped": False}
    assert raylet.gone() == {"event": "gone", "reason": "exited", "killed": [], "killedCount": 0, "left": []}


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_every_exit_code_comes_unchanged(raylet, code):
    raylet.run("os._exit(%d)" % code).start()
    assert raylet.event("exited")["code"] == code
    raylet.gone()


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT", "SIGTERM"])
def test_a_deadly_signal_comes_unchanged_f21(raylet, name):
    raylet.run("os.kill(os.getpid(), signal.%s)" % name).start()
    exited = raylet.event("exited")
    assert (exited["code"], exited["signal"]) == (None, name)
    raylet.gone()


def test_core_dumped_says_what_the_kernel_said(raylet):
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    raylet.run("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.SIGSEGV)").start()
    assert raylet.event("exited")["coreDumped"] is False
    assert resource.getrlimit(resource.RLIMIT_CORE) == limit
    raylet.gone()


def test_a_realtime_signal_has_a_name(raylet):
    raylet.run("os.kill(os.getpid(), signal.SIGRTMIN + 3)").start()
    assert raylet.event("exited")["signal"] == "SIG%d" % (signal.SIGRTMIN + 3)
    raylet.gone()


def test_hello_and_started_identify_by_pid_and_start_time(raylet):
    raylet.run("time.sleep(60)").start()
    hello = raylet.hello
    assert (hello["hello"], hello["lease"], hello["epoch"], hello["token"]) == (1, raylet.lease, 3, "c0ffee")
    assert (hello["pid"], hello["startTime"]) == (raylet.guard.pid, start_time(raylet.guard.pid))
    assert raylet.started["startTime"] == start_time(raylet.started["pid"])
    raylet.say(kill={})
    assert raylet.event("exited")["signal"] == "SIGTERM"
    raylet.gone()


def test_the_engine_gets_exactly_the_given_environment_and_cwd(raylet):
    raylet.config["env"] = {"A": "1", "UTF": "gr\u00fcn", "EMPTY": "", "RAW": "\udcff", "WHIPRAY_LEASE": "lease_of_somebody_else"}
    raylet.config["cwd"] = os.path.join(raylet.folder, "d\u00e9p\u00f4t")
    os.mkdir(raylet.config["cwd"])
    raylet.run("import json; print(json.dumps([[[k.hex(), v.hex()] for k, v in os.environb.items()], os.getcwd()]))").start()
    raylet.gone()
    pairs, cwd = json.loads(raylet.guard.stdout.read())
    env = {bytes.fromhex(key): bytes.fromhex(value) for key, value in pairs}
    env.pop(b"LC_CTYPE", None)  # set by the engine's own interpreter
    lease = raylet.lease.encode()
    expected = {b"A": b"1", b"UTF": "gr\u00fcn".encode(), b"EMPTY": b"", b"RAW": b"\xff", b"WHIPRAY_LEASE": lease, b"WHIPRAY_TREE": lease, b"WHIPRAY_CLUSTER": b"cluster_a"}
    assert env == expected
    assert os.path.samefile(os.path.dirname(cwd), raylet.folder) and os.path.basename(cwd) == "d\u00e9p\u00f4t"


def test_the_engine_has_descriptors_0_to_2_default_signals_and_a_group_of_its_own(raylet):
    lock = os.path.join(raylet.folder, "GPU-1.lock")
    raylet.config["locks"] = [lock]
    body = """
import json
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1]
print(json.dumps({"fds": fds, "ignored": int(status["SigIgn"], 16), "blocked": int(status["SigBlk"], 16), "group": os.getpgrp() == os.getpid()}))
"""
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        raylet.run(body).start(pass_fds=[extra])
    finally:
        os.close(extra)
    raylet.gone()
    seen = json.loads(raylet.guard.stdout.read())
    python_ignores = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert seen["fds"] == [0, 1, 2]
    assert seen["ignored"] & ~python_ignores == 0
    assert (seen["blocked"], seen["group"]) == (0, True)


def test_a_guard_started_without_stdio_still_works(raylet):
    raylet.run("raise SystemExit(9)").start(stdin=None, stdout=None, stderr=None, preexec_fn=lambda: os.closerange(0, 3))
    assert raylet.event("exited")["code"] == 9
    raylet.gone()


def test_argv0_is_looked_up_in_the_engines_path(raylet):
    raylet.config["argv"] = ["whipray-fake-engine"]
    program = os.path.join(raylet.folder, "whipray-fake-engine")
    with open(program, "w") as file:
        file.write("#!/bin/sh\nexit 5\n")
    os.chmod(program, 0o700)
    raylet.config["env"] = {"PATH": "/nowhere:" + raylet.folder}
    raylet.start()
    assert raylet.event("exited")["code"] == 5
    raylet.gone()


@pytest.mark.parametrize(
    ("change", "errno", "word"),
    [
        ({"argv": ["/nowhere/python"]}, 2, "argv[0] /nowhere/python"),
        ({"argv": ["whipray-no-such-program"]}, 2, "argv[0] whipray-no-such-program"),
        ({"argv": ["/etc"]}, 13, "argv[0] /etc"),
        ({"cwd": "/nowhere"}, 2, "cwd /nowhere"),
        ({"argv": [PYTHON, "x" * (1 << 18)]}, 7, "Argument list too long"),
    ],
)
def test_what_cannot_start_is_told_with_its_errno_and_exit_66(raylets, change, errno, word):
    raylet = raylets(**change)
    raylet.launch().accept()
    raylet.say(welcome=1)
    failed = raylet.event("start_failed")
    assert failed["errno"] == errno and word in failed["message"]
    assert raylet.exit_code() == 66
    assert word in raylet.guard.stderr.read().decode()
    assert raylet.events("started") == []


def test_orphans_are_reaped_while_the_engine_runs_f48(raylet):
    body = """
pids = []
for _ in range(20):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild:
            os.write(writer, str(grandchild).encode())
            os._exit(0)
        time.sleep(0.05)
        os._exit(0)
    os.waitpid(child, 0)
    pids.append(os.read(reader, 100).decode())
open("pids.part", "w").write(" ".join(pids))
os.rename("pids.part", "pids")
time.sleep(60)
"""
    raylet.run(body).start()
    pids = [int(pid) for pid in raylet.file("pids").split()]
    raylet.until(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in pids))
    assert alive(raylet.started["pid"])
    raylet.say(kill={})
    raylet.gone()


def start_time(pid):
    with open("/proc/%d/stat" % pid) as file:
        return int(file.read().rpartition(")")[2].split()[19])
