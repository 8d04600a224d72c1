"""Calls of one actor at a part of the rate that it reached just before, as `src/vs-ray/open-loop.ts` has them."""

import asyncio
import time

import ray

from ray_rows import row
from ray_targets import Actor, ready

BATCH = 1000
MAXIMUM_SECONDS = 1


def maximum(actor):
    start = time.perf_counter()
    calls = 0
    while time.perf_counter() - start < MAXIMUM_SECONDS:
        ray.get([actor.small_value.remote() for _ in range(BATCH)])
        calls += BATCH
    return calls / (time.perf_counter() - start)


async def open_loop(actor, per_second, seconds):
    """Sends each call when it is due; what a late turn of the loop held up counts from then, too. Seconds of each."""
    took = []

    async def one(due):
        await actor.small_value.remote()
        took.append(time.perf_counter() - due)

    count = max(1, int(per_second * seconds))
    start = time.perf_counter()
    pending = []
    while len(pending) < count:
        while len(pending) < count and start + len(pending) / per_second <= time.perf_counter():
            pending.append(asyncio.ensure_future(one(start + len(pending) / per_second)))
        await asyncio.sleep(0)
    await asyncio.gather(*pending)
    return took


def at_part(percent):
    @row(f"open-loop-{percent}")
    def _(scale):
        (actor,) = ready(Actor.remote())
        maximum(actor)
        per_second = maximum(actor) * percent / 100
        yield {"latencies": lambda seconds: asyncio.run(open_loop(actor, per_second, seconds))}


for _percent in (25, 50, 75):
    at_part(_percent)
