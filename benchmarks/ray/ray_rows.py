"""The loops of `ray microbenchmark` 2.58, written anew. Each generator makes what its row needs, yields one step (or {"value": function} for a figure that is no
rate), and takes everything down when it is resumed."""

import multiprocessing

import numpy as np
import ray

from ray_targets import (
    MIB,
    Actor,
    AsyncActor,
    Client,
    put_80_mib_10,
    put_small_100,
    ready,
    round_robin,
    small_value,
    ten_thousand_refs,
)

HALF = max(1, multiprocessing.cpu_count() // 2)
ROWS = {}


def row(name):
    def register(make):
        ROWS[name] = make
        return make

    return register


def times(count, scale):
    return max(1, round(count * scale))


@row("get-small")
def _(scale):
    value = ray.put(0)
    yield lambda: ray.get(value)


@row("put-small")
def _(scale):
    yield lambda: ray.put(0)


@row("multi-put-small")
def _(scale):
    yield lambda: ray.get([put_small_100.remote() for _ in range(10)])


@row("put-gigabytes")
def _(scale):
    array = np.zeros(100 * MIB, dtype=np.int64)
    yield lambda: ray.put(array)


@row("tasks-and-get-batch")
def _(scale):
    yield lambda: ray.get([small_value.remote() for _ in range(1000)])


@row("multi-put-gigabytes")
def _(scale):
    yield lambda: ray.get([put_80_mib_10.remote() for _ in range(10)])


@row("get-10k-refs")
def _(scale):
    holder = ten_thousand_refs.remote(10_000)
    yield lambda: ray.get(holder)


@row("wait-1k-refs")
def _(scale):
    def step():
        pending = [small_value.remote() for _ in range(1000)]
        fetch = True
        for _ in range(1000):
            _, pending = ray.wait(pending, fetch_local=fetch)
            fetch = False

    yield step


@row("tasks-sync")
def _(scale):
    yield lambda: ray.get(small_value.remote())


@row("tasks-async")
def _(scale):
    yield lambda: ray.get([small_value.remote() for _ in range(1000)])


@row("multi-tasks-async")
def _(scale):
    n = times(10_000, scale)
    actors = ready(*[Actor.remote() for _ in range(4)])
    yield lambda: ray.get([a.small_value_batch.remote(n) for a in actors])


def calls(name, cls, method, n, **options):
    @row(name)
    def _(scale):
        (a,) = ready(cls.options(**options).remote())
        f = getattr(a, method)
        if n == 1:
            yield lambda: ray.get(f.remote())
        elif method.endswith("arg"):
            yield lambda: ray.get([f.remote(i) for i in range(n)])
        else:
            yield lambda: ray.get([f.remote() for _ in range(n)])


calls("actor-sync", Actor, "small_value", 1)
calls("actor-async", Actor, "small_value", 1000)
calls("actor-concurrent", Actor, "small_value", 1000, max_concurrency=16)
calls("async-actor-sync", AsyncActor, "small_value", 1)
calls("async-actor-async", AsyncActor, "small_value", 1000)
calls("async-actor-args", AsyncActor, "small_value_with_arg", 1000)


def fan(prefix, cls):
    @row(f"{prefix}-1-n")
    def _(scale):
        n = times(5_000, scale)
        servers = ready(*[cls.remote() for _ in range(HALF)])
        (client,) = ready(Client.remote(list(servers)))
        yield lambda: ray.get(client.small_value_batch.remote(n))

    @row(f"{prefix}-n-n")
    def _(scale):
        n = times(5_000, scale)
        servers = list(ready(*[cls.remote() for _ in range(HALF)]))
        yield lambda: ray.get([round_robin.remote(servers, n) for _ in range(4)])


fan("actor", Actor)
fan("async-actor", AsyncActor)


@row("actor-n-n-arg")
def _(scale):
    n = times(1_000, scale)
    servers = ready(*[Actor.remote() for _ in range(HALF)])
    clients = ready(*[Client.remote([s]) for s in servers])
    yield lambda: ray.get([c.small_value_batch_arg.remote(n) for c in clients])


@row("groups-100")
def _(scale):
    def step():
        made = [ray.util.placement_group([{"custom": 0.001}]) for _ in range(100)]
        for pg in made:
            pg.wait(timeout_seconds=30)
        for pg in made:
            ray.util.remove_placement_group(pg)

    yield step
