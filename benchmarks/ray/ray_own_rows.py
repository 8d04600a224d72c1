"""Loops of our own rows, as `ray_rows.py` has those of Ray's microbenchmark. Their names are those of `src/vs-ray/rows.ts`."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import ray

import ray_memory
from ray_rows import row
from ray_targets import MIB, Actor, ready, small_value


def gang(name, bundles):
    @row(name)
    def _(scale):
        def step():
            pg = ray.util.placement_group([{"custom": 0.001}] * bundles)
            ray.get(pg.ready())
            ray.util.remove_placement_group(pg)

        yield step


gang("groups-one", 1)
gang("gang-8", 8)


def launches(name, count):
    @row(name)
    def _(scale):
        def step():
            made = [Actor.remote() for _ in range(count)]
            ray.get([a.small_value.remote() for a in made])
            for a in made:
                ray.kill(a)

        yield step


launches("launch-1", 1)
launches("launch-20", 20)
launches("launch-100", 100)


def echoes(name, size):
    @row(name)
    def _(scale):
        (a,) = ready(Actor.remote())
        array = np.ones(size, dtype=np.uint8)
        yield lambda: ray.get(a.echo.remote(array))


echoes("engine-1-kib", 1024)
echoes("engine-1-mib", MIB)
echoes("engine-64-mib", 64 * MIB)


@row("engine-async")
def _(scale):
    (a,) = ready(Actor.remote())
    yield lambda: ray.get([a.small_value.remote() for _ in range(1000)])


@row("stream-10k")
def _(scale):
    (a,) = ready(Actor.remote())
    method = a.items.options(num_returns="streaming")

    def step():
        total = sum(ray.get(ref) for ref in method.remote(10_000))
        assert total == 49_995_000, total

    yield step


def puts(name, size):
    @row(f"put-{name}")
    def _(scale):
        array = np.ones(size, dtype=np.uint8)
        yield lambda: ray.put(array)

    @row(f"get-{name}")
    def _(scale):
        ref = ray.put(np.ones(size, dtype=np.uint8))

        def step():
            array = ray.get(ref)
            assert array[0] + array[-1] == 2

        yield step


for _name, _size in (("1-kib", 1024), ("1-mib", MIB), ("64-mib", 64 * MIB), ("800-mib", 800 * MIB)):
    puts(_name, _size)


@row("read-back")
def _(scale):
    """Another process reads what was put."""
    (a,) = ready(Actor.remote())

    def step():
        array = np.full(MIB, 3, dtype=np.uint8)
        assert ray.get(a.first_and_last.remote(ray.put(array))) == 6

    yield step


@row("broadcast-256-mib")
def _(scale):
    actors = ready(*[Actor.remote() for _ in range(4)])
    array = np.ones(256 * MIB, dtype=np.uint8)

    def step():
        ref = ray.put(array)
        assert ray.get([a.first_and_last.remote(ref) for a in actors]) == [2] * 4

    yield step


@row("named-lookup")
def _(scale):
    keep = ready(Actor.options(name="looked-up").remote())
    yield lambda: ray.get_actor("looked-up")
    del keep


@row("kill-noticed")
def _(scale):
    def once():
        (a,) = ready(Actor.remote())
        pid = ray.get(a.pid.remote())
        pending = a.sleep.remote(3600)
        ray.get(small_value.remote())
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        try:
            ray.get(pending)
        except ray.exceptions.RayActorError:
            return (time.perf_counter() - start) * 1000
        raise AssertionError("the call ended well")

    yield {"value": once}


@row("installed-size")
def _(scale):
    yield {"value": ray_memory.installed_mb}


@row("idle-memory")
def _(scale):
    yield {"value": ray_memory.uss_mb}


@row("idle-processes")
def _(scale):
    yield {"value": ray_memory.processes}


@row("idle-cpu")
def _(scale):
    yield {"value": lambda: ray_memory.cpu_percent(3.0)}


@row("init-first")
def _(scale):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ray_first.py")

    def once():
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
        return float(done.stdout.rsplit("first result after", 1)[1])

    yield {"value": once}
