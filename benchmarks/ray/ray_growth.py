"""The same thousand calls with ever more actors, and over ever more raylets with an actor each, as `src/vs-ray/growth-steps.ts` has them."""

import ray

from ray_far import FarNode
from ray_rows import row
from ray_targets import Actor, ready

CALLS = 1000
# Memory of an actor's process that nothing else shares, and the part of the machine's free memory that may be used.
ACTOR_BYTES = 60_000_000
MEMORY_PART = 0.8


def spread(actors):
    ray.get([actors[i % len(actors)].small_value.remote() for i in range(CALLS)])


def refuse_without_memory(count):
    with open("/proc/meminfo") as meminfo:
        free = next(int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemAvailable"))
    if count * ACTOR_BYTES > free * MEMORY_PART:
        raise RuntimeError(
            f"{count} actors, a process each, need about {count * ACTOR_BYTES / 1e9:.0f} GB; "
            f"{free / 1e9:.0f} GB are free, of which {MEMORY_PART:.0%} may be used"
        )


def over_actors(count):
    @row(f"grow-actors-{count}")
    def _(scale):
        refuse_without_memory(count)
        actors = ready(*[Actor.remote() for _ in range(count)])
        yield lambda: spread(actors)
        for actor in actors:
            ray.kill(actor)


def over_raylets(count):
    @row(f"grow-raylets-{count}")
    def _(scale):
        names = [f"far{i}" for i in range(count - 1)]
        nodes = [FarNode(name) for name in names]
        actors = [*ready(Actor.remote()), *(node.actor() for node in nodes)]
        yield lambda: spread(actors)
        for actor in actors:
            ray.kill(actor)
        for node in nodes:
            node.stop()


for _count in (1, 10, 100, 1000):
    over_actors(_count)
for _count in (1, 2, 4, 8):
    over_raylets(_count)
