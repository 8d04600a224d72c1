"""Stands for torch in tests: it leaves a trace when it is imported."""
import os

trace = os.environ.get("TORCH_TRACE")
if trace:
    with open(trace, "a") as file:
        file.write("imported\n")


class version:
    cuda = os.environ.get("TORCH_CUDA")


class cuda:
    """As a GPU build of torch: it counts what CUDA_VISIBLE_DEVICES shows, up to TORCH_GPUS."""

    @staticmethod
    def device_count():
        if os.environ.get("TORCH_BROKEN"):
            raise RuntimeError("no driver")
        visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
        return min(len(visible), int(os.environ.get("TORCH_GPUS", "0")))

    _device_count_nvml = device_count
