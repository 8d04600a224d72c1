"""Prints the milliseconds from before `import ray` to the first result of an actor."""

import time

start = time.perf_counter()
import os  # noqa: E402
import tempfile  # noqa: E402

import ray  # noqa: E402

ray.init(log_to_driver=False, _temp_dir=tempfile.mkdtemp(prefix="f", dir=os.environ["RAY_TMPDIR"]))


@ray.remote(num_cpus=0)
class Actor:
    def small_value(self):
        return b"ok"


ray.get(Actor.remote().small_value.remote())
print("first result after", (time.perf_counter() - start) * 1000)
ray.shutdown()
