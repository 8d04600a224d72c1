"""A further node of a server: says where it was told to which devices it sees, and stays."""

import os
import sys
import time

path = sys.argv[sys.argv.index("--told") + 1]
with open(path + ".part", "w") as told:
    told.write(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
os.rename(path + ".part", path)
time.sleep(3600)
