"""What the loops call: the actors and tasks of `ray microbenchmark`, and some of ours."""

import os
import time

import numpy as np
import ray

MIB = 1024 * 1024


@ray.remote(num_cpus=0)
class Actor:
    def small_value(self):
        return b"ok"

    def small_value_arg(self, _):
        return b"ok"

    def small_value_batch(self, n):
        ray.get([small_value.remote() for _ in range(n)])

    def echo(self, value):
        return value

    def first_and_last(self, array):
        return int(array[0]) + int(array[-1])

    def items(self, n):
        for i in range(n):
            yield i

    def pid(self):
        return os.getpid()

    def sleep(self, seconds):
        time.sleep(seconds)


@ray.remote
class AsyncActor:
    async def small_value(self):
        return b"ok"

    async def small_value_with_arg(self, _):
        return b"ok"


@ray.remote(num_cpus=0)
class Client:
    def __init__(self, servers):
        self.servers = servers

    def small_value_batch(self, n):
        ray.get([s.small_value.remote() for s in self.servers for _ in range(n)])

    def small_value_batch_arg(self, n):
        x = ray.put(0)
        ray.get([s.small_value_arg.remote(x) for s in self.servers for _ in range(n)])


@ray.remote
def small_value():
    return b"ok"


@ray.remote
def put_small_100():
    for _ in range(100):
        ray.put(0)


@ray.remote
def put_80_mib_10():
    for _ in range(10):
        ray.put(np.zeros(10 * MIB, dtype=np.int64))


@ray.remote
def ten_thousand_refs(n):
    return [ray.put(1) for _ in range(n)]


@ray.remote
def round_robin(actors, n):
    ray.get([actors[i % len(actors)].small_value.remote() for i in range(n)])


def ready(*actors):
    ray.get([a.__ray_ready__.remote() for a in actors])
    return actors
