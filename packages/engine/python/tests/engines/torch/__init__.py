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


class Backend:
    """As what a vendor adds: TORCH_BACKEND=npu:2 is torch.npu, started, with two devices; npu:2:idle is not started."""

    def __init__(self, count, started):
        self.count, self.started = count, started

    def is_initialized(self):
        return self.started

    def device_count(self):
        if not self.started:
            raise RuntimeError("asked before it was started")
        return self.count


name, _, rest = os.environ.get("TORCH_BACKEND", "").partition(":")
if name:
    globals()[name] = Backend(int(rest.partition(":")[0]), not rest.endswith(":idle"))
