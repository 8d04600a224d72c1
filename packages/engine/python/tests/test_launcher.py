"""The launcher engine: programs by name, their codes, their end."""

import os

import pytest
from host_pythons import BARE, PYTHONS
from host_worker import Worker

from whipray_engine.launcher import PROCESSES_LIMIT

SLEEP = ["python3", "-c", "import time; time.sleep(60)"]
STUBBORN = ["python3", "-c", "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); print('deaf', flush=True); time.sleep(60)"]


@pytest.fixture(params=PYTHONS.values(), ids=PYTHONS.keys())
def worker(request):
    with Worker(request.param) as one:
        one.create("whipray_engine.launcher.Launcher")
        yield one


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_areal_6_20_a_process_exists_without_a_code_while_it_runs_and_not_at_all_after_its_stop(worker):
    assert worker.call("status", "server") == {"exists": False}
    pid = worker.call("start", "server", SLEEP)["pid"]
    assert worker.call("status", "server") == {"exists": True, "pid": pid, "returncode": None} and alive(pid)
    assert worker.fails(worker.begin("start", "server", SLEEP))["code"] == "ENGINE_EXISTS"
    worker.call("stop", "server")
    assert worker.call("status", "server") == {"exists": False} and not alive(pid)
    worker.call("stop", "server")


def test_the_end_of_a_process_is_told_with_its_code_or_signal_to_whoever_waits(worker):
    worker.call("start", "seven", ["python3", "-c", "import sys, time; time.sleep(0.2); sys.exit(7)"])
    assert worker.call("wait", "seven") == 7
    assert worker.call("status", "seven")["returncode"] == 7
    pid = worker.call("start", "killed", SLEEP)["pid"]
    waiting = worker.begin("wait", "killed")
    os.kill(pid, 9)
    assert worker.wait(waiting) == -9
    assert worker.fails(worker.begin("wait", "nobody"))["code"] == "NOT_FOUND"


def test_what_ignores_sigterm_is_killed_after_the_grace_with_its_children(worker):
    pid = worker.call("start", "deaf", STUBBORN)["pid"]
    worker.pump(lambda: worker.text().count("deaf") == 2)
    group = [int(one) for one in os.listdir("/proc") if one.isdecimal() and _group(one) == pid]
    assert len(group) == 2
    worker.call("stop", "deaf", 200)
    worker.pump(lambda: not any(alive(one) for one in group))


def test_a_65th_process_is_refused():
    with Worker(BARE) as worker:
        worker.create("whipray_engine.launcher.Launcher")
        started = [worker.begin("start", "p%d" % i, ["true"]) for i in range(PROCESSES_LIMIT)]
        for one in started:
            worker.wait(one)
        assert worker.fails(worker.begin("start", "one more", ["true"]))["code"] == "LIMIT"
        worker.call("stop", "p0")
        worker.call("start", "one more", ["true"])


def test_environment_is_the_hosts_and_the_users(worker):
    code = "import os, sys; sys.exit(int(os.environ['CODE']) + ('HOME' in os.environ))"
    worker.call("start", "env", ["python3", "-c", code], {"CODE": "4"})
    assert worker.call("wait", "env") == 5


def test_the_launchers_end_is_that_of_its_processes(worker):
    pid = worker.call("start", "server", SLEEP)["pid"]
    worker.ask("destroy")
    assert not alive(pid)


def _group(pid):
    try:
        return os.getpgid(int(pid))
    except ProcessLookupError:
        return None
