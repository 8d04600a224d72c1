"""Stands for a GPU build of torch under which a device is missing: it sees one less than the variable shows."""

import os


class version:
    cuda = "12.4"


class cuda:
    @staticmethod
    def device_count():
        return len([one for one in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if one]) - 1

    _device_count_nvml = device_count
