"""A module that runs the engine host itself, as a command of `forkWorkers` does."""

import os
import runpy

os.environ["TOY_HOST"] = "1"
runpy.run_module("whipray_engine", run_name="__main__", alter_sys=True)
