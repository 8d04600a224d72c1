"""Stands for torch in tests: it leaves a trace when it is imported."""
import os

trace = os.environ.get("TORCH_TRACE")
if trace:
    with open(trace, "a") as file:
        file.write("imported\n")
