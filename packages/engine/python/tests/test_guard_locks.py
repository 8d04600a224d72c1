"""Device locks: shared inside one raylet, exclusive against all others, free exactly when nothing is left."""

import fcntl
import json
import os
import subprocess
import tempfile

import pytest
from guard_raylet import GUARD, PYTHON, folder, is_free, raylet, raylets  # noqa: F401

import whipray_guard_locks as guard_locks

NOBODY = 65534
SLEEP = "ready('up-%s'); time.sleep(60)"
CONTENDER = """
import json, os, sys, time
sys.path.insert(0, os.path.dirname(sys.argv[1]))
from whipray_guard_locks import take_locks
for user in sys.argv[4:]:
    os.setgid(int(user))
    os.setuid(int(user))
me = {"cluster": "cluster_a", "node": "node_a", "raylet": sys.argv[3], "lease": "lease_" + sys.argv[3], "pid": os.getpid()}
print("ready", flush=True)
sys.stdin.readline()
held, refused = take_locks([sys.argv[2]], me, 1.0)
print(json.dumps(refused), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def lock(folder):
    return os.path.join(folder, "GPU-1.lock")


def sleeper(raylets, name, **config):
    return raylets(**config).run(SLEEP % name)


def refused(raylet):
    """Launches a guard that must be refused; the holder that it was told."""
    raylet.launch().accept()
    raylet.say(welcome=1)
    failed = raylet.event("lock_failed")
    assert raylet.exit_code() == 65
    assert raylet.events("started") == []
    return failed


def test_two_leases_of_one_raylet_share_a_device(raylets, lock):
    first = sleeper(raylets, "a", locks=[lock]).start()
    second = sleeper(raylets, "b", locks=[lock]).start()
    first.say(kill={})
    first.gone()
    assert not is_free(lock)
    second.say(kill={})
    second.gone()
    assert is_free(lock)


def test_another_cluster_is_refused_and_told_the_holder(raylets, lock):
    first = sleeper(raylets, "a", locks=[lock]).start()
    failed = refused(sleeper(raylets, "b", locks=[lock], cluster="cluster_b"))
    assert failed["path"] == lock
    assert failed["holder"] == {"cluster": "cluster_a", "node": "node_a", "raylet": "raylet_a", "lease": first.lease, "pid": first.guard.pid}
    assert not os.path.exists(os.path.join(first.folder, "up-b"))
    first.say(kill={})
    first.gone()


def test_another_incarnation_of_the_raylet_is_refused(raylets, lock):
    first = sleeper(raylets, "a", locks=[lock]).start()
    assert refused(sleeper(raylets, "b", locks=[lock], raylet="raylet_b"))["holder"]["raylet"] == "raylet_a"
    first.say(kill={})
    first.gone()


def test_a_refusal_for_one_lock_frees_the_others(raylets, folder, lock):
    free = os.path.join(folder, "GPU-0.lock")
    first = sleeper(raylets, "a", locks=[lock]).start()
    assert refused(sleeper(raylets, "b", locks=[free, lock], raylet="raylet_b"))["path"] == lock
    assert is_free(free)
    first.say(kill={})
    first.gone()


def test_what_a_dead_holder_wrote_does_not_matter(raylets, lock):
    odd = ('{"raylet":"\\ud800"}', '{"raylet":"a\\u0000b"}', '{"raylet":["raylet_z"]}', '{"raylet":"%s"}' % ("z" * 3000))
    for content in ('{"cluster":"cluster_z","raylet":"raylet_z"}', "no json", "", "x" * 100000, *odd):
        with open(lock, "w") as file:
            file.write(content)
        raylet = sleeper(raylets, "a", locks=[lock]).start()
        with open(lock) as file:
            assert json.load(file) == {
                "cluster": "cluster_a",
                "node": "node_a",
                "raylet": "raylet_a",
                "lease": raylet.lease,
                "pid": raylet.guard.pid,
            }
        raylet.say(kill={})
        raylet.gone()


def test_the_same_lock_twice_is_one_lock(raylets, lock):
    raylet = sleeper(raylets, "a", locks=[lock, lock]).start()
    raylet.say(kill={})
    raylet.gone()
    assert is_free(lock)


@pytest.mark.parametrize("path", ["nowhere/GPU-1.lock", "link.lock", "."])
def test_a_lock_that_cannot_be_opened_is_told(raylets, folder, path):
    os.symlink("/etc/passwd", os.path.join(folder, "link.lock"))
    failed = refused(sleeper(raylets, "a", locks=[os.path.join(folder, path)]))
    assert failed["holder"] is None and path in failed["message"]


def test_the_lock_is_held_until_the_last_process_is_gone(raylets, lock):
    raylet = raylets(locks=[lock], graceMs=60000).run("daemon(lambda: (ready('daemon'), stubborn()))").start()
    raylet.file("daemon")
    raylet.event("exited")
    assert not is_free(lock)
    raylet.say(kill={"graceMs": 0})
    raylet.gone()
    assert is_free(lock)


def test_the_engine_does_not_hold_the_lock(raylets, lock):
    """Were the descriptor inherited, the orphan below would keep the lock after the death of its guard."""
    raylet = raylets(locks=[lock], pdeathsig=False).run("ready('up'); time.sleep(60)").start()
    raylet.file("up")
    targets = [os.readlink("/proc/%d/fd/%s" % (raylet.started["pid"], fd)) for fd in os.listdir("/proc/%d/fd" % raylet.started["pid"])]
    assert lock not in targets
    raylet.guard.kill()
    raylet.guard.wait()
    assert raylet.carriers() == [raylet.started["pid"]]
    assert is_free(lock)
    os.kill(raylet.started["pid"], 9)


def test_a_lock_file_removed_before_it_was_locked_is_not_trusted(lock, monkeypatch):
    """A lock on a file that no path leads to protects nothing: the next guard would make a new one."""
    me = {"cluster": "c", "node": "n", "raylet": "r", "lease": "l", "pid": 1}
    removed = []

    def remove_once(fd, how, real=guard_locks.flock):
        if not removed:
            removed.append(os.unlink(lock))
        return real(fd, how)

    monkeypatch.setattr(guard_locks, "flock", remove_once)
    held, refusal = guard_locks.take_locks([lock], me)
    try:
        assert refusal is None and removed
        assert not is_free(lock)
    finally:
        for fd in held or ():
            os.close(fd)


def test_who_is_overtaken_in_the_conversion_loses(lock, monkeypatch):
    """Converting EX to SH lets go for a moment. Here another raylet takes and shares the lock in just that moment."""
    mine = {"cluster": "c", "node": "n", "raylet": "mine", "lease": "l", "pid": 1}
    other = {**mine, "raylet": "other"}
    overtaken = []

    def let_go(fd, how, real=guard_locks.flock):
        if how == fcntl.LOCK_SH and not overtaken:
            overtaken.append(None)
            real(fd, fcntl.LOCK_UN)
            overtaken[0] = guard_locks.try_lock(lock, other)[0]
        return real(fd, how)

    monkeypatch.setattr(guard_locks, "flock", let_go)
    held, refusal = guard_locks.take_locks([lock], mine, 0.05)
    assert overtaken[0] is not None
    os.close(overtaken[0])
    assert held is None and refusal["holder"] == other
    assert is_free(lock)


def test_of_many_that_race_only_one_raylet_wins(lock):
    """The EX to SH conversion is not atomic: whoever slips in between must lose, on one side or the other, and one must win."""
    raylets = ["raylet_%d" % (index % 4) for index in range(12)]
    contenders = []
    for name in raylets:
        argv = [PYTHON, "-I", "-S", "-c", CONTENDER, GUARD, lock, name]
        contenders.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for one in contenders:
        assert one.stdout.readline() == "ready\n"
    for one in contenders:
        one.stdin.write("go\n")
        one.stdin.flush()
    verdicts = [json.loads(one.stdout.readline()) for one in contenders]
    winners = {name for name, verdict in zip(raylets, verdicts) if verdict is None}
    for one in contenders:
        one.communicate("end\n")
    assert len(winners) == 1
    assert is_free(lock)


def test_a_lock_with_a_second_name_is_never_written(raylets, folder, lock):
    precious = os.path.join(folder, "precious")
    with open(precious, "w") as file:
        file.write("what a guard of root could destroy")
    os.link(precious, lock)
    assert "second name" in refused(sleeper(raylets, "a", locks=[lock]))["message"]
    with open(precious) as file:
        assert file.read() == "what a guard of root could destroy"


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's process can be started by root alone")
@pytest.mark.parametrize("first, second", [(0, NOBODY), (NOBODY, 0)])
def test_users_of_a_machine_contend_for_its_device(first, second):
    # TMPDIR may lie in a folder that is closed to other users.
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:
        os.chmod(shared, 0o1777)
        lock = os.path.join(shared, "GPU-1.lock")

        def contender(user, name):
            process = subprocess.Popen(
                [PYTHON, "-I", "-c", CONTENDER, GUARD, lock, name, str(user)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert process.stdout.readline() == "ready\n"
            return process

        def take(process):
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        one, two, three = contender(first, "one"), contender(second, "two"), contender(second, "three")
        assert take(one) is None
        assert os.stat(lock).st_uid == first
        assert take(two)["holder"]["lease"] == "lease_one"
        one.communicate("\n")
        assert take(three) is None
        for process in (two, three):
            process.communicate("\n")


def test_who_takes_a_lock_over_ends_what_a_killed_guard_left(raylets, lock):
    """The guard's root goes with it by PDEATHSIG, but not what that started; nobody else may use the device before that is gone."""
    env = {"WHIPRAY_RAYLET": "raylet_a", "PATH": os.environ["PATH"]}
    first = raylets(locks=[lock], env=env).run("daemon(lambda: (ready('daemon'), stubborn()))").start()
    first.file("daemon")
    # Guarded by somebody else who lives, and named like the raylet of the dead one: not ours to end.
    other = raylets(env=env).run("ready('other'); time.sleep(60)").start()
    first.guard.kill()
    first.guard.wait()
    assert is_free(lock) and first.carriers() != []
    second = sleeper(raylets, "b", locks=[lock], raylet="raylet_b").start()
    assert first.carriers() == []
    assert other.carriers() == [other.started["pid"]]
    for raylet in (second, other):
        raylet.say(kill={})
        raylet.gone()


def test_a_lock_is_refused_while_what_a_killed_guard_left_cannot_be_ended(lock, monkeypatch):
    with open(lock, "w") as file:
        json.dump({"cluster": "c", "node": "n", "raylet": "raylet_dead", "lease": "l", "pid": 1}, file)
    env = {"WHIPRAY_RAYLET": "raylet_dead", "WHIPRAY_TREE": "engine_a"}
    stuck = subprocess.Popen([PYTHON, "-c", "import time; time.sleep(60)"], env=env)
    monkeypatch.setattr(guard_locks, "send_signal", lambda *_: False)  # D state
    me = {"cluster": "c", "node": "n", "raylet": "raylet_new", "lease": "l", "pid": 1}
    held, refusal = guard_locks.take_locks([lock], me, 0.05)
    assert held is None and "left is still there: pid %d" % stuck.pid in refusal["message"]
    stuck.kill()
    stuck.wait()
    held, refusal = guard_locks.take_locks([lock], me, 0.05)
    assert refusal is None
    for fd in held:
        os.close(fd)
