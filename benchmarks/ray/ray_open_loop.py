"""Calls of one actor at a part of the rate that it reached just before, as `src/vs-ray/open-loop.ts` has them."""

import asyncio
import time

import ray

from ray_rows import row
from ray_targets import Actor, ready

MAXIMUM_SECONDS = 1
MAXIMUM_WIDTH = 64


async def maximum(actor):
    """Each call is sent when another one comes back, as in the open loop one by one and not in batches, which are cheaper."""
    start = time.perf_counter()
    calls = 0

    async def caller():
        nonlocal calls
        while time.perf_counter() - start < MAXIMUM_SECONDS:
            await actor.small_value.remote()
            calls += 1

    await asyncio.gather(*(caller() for _ in range(MAXIMUM_WIDTH)))
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
        asyncio.run(maximum(actor))
        per_second = asyncio.run(maximum(actor)) * percent / 100
        yield {"latencies": lambda seconds: asyncio.run(open_loop(actor, per_second, seconds))}


for _percent in (25, 50, 75):
    at_part(_percent)
