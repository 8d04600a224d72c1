"""Shared memory of the node's store: numpy without a copy, read only, released with the last array; what could kill us is refused."""

import gc
import os
import struct
import subprocess
import sys
import weakref

import pytest

from whipray_engine import segments
from whipray_engine.errors import HostError

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux only")
F_ADD_SEALS, SHRINK_GROW = 1033, 6


def layout(*parts):
    memory = bytearray(struct.pack("<II%dQ" % len(parts), segments.MAGIC, len(parts), *map(len, parts)))
    for part in parts:
        memory += bytes(-len(memory) % segments.ALIGNMENT) + part
    return bytes(memory)


class Segment:
    """A segment in a process of its own, which ends when told."""

    CODE = """if 1:
        import fcntl, os, sys
        fd = os.memfd_create("whipray-test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, int(sys.argv[1]))
        if sys.argv[2] == "sealed": fcntl.fcntl(fd, 1033, 6)
        print(fd, flush=True)
        for line in sys.stdin:
            try:
                exec(line)
                print("done", flush=True)
            except OSError as error:
                print(error.errno, flush=True)
    """

    def __init__(self, size, content, seal="sealed"):
        self.size = size
        argv = [sys.executable, "-c", self.CODE, str(size), seal]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.fd = int(self.process.stdout.readline())
        with open("/proc/%d/fd/%d" % (self.process.pid, self.fd), "r+b") as file:
            file.write(content)

    def do(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def attach(self, length, **kwargs):
        return segments.attach(self.process.pid, self.fd, "whipray-test", self.size, length, **kwargs)


@pytest.fixture
def segment():
    made = []

    def make(*args, **kwargs):
        made.append(Segment(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.communicate()


def test_numpy_reads_what_another_process_wrote_without_a_copy(segment):
    numbers = numpy.arange(100_000, dtype="<f8")
    content = layout(b"head", numbers.tobytes())
    other = segment(1 << 20, content)
    parts = other.attach(len(content))
    assert bytes(parts[0]) == b"head"
    array = numpy.frombuffer(parts[1], "<f8")
    assert (array == numbers).all()
    assert not array.flags.owndata
    other.do("import mmap; m = mmap.mmap(fd, 0)")
    other.do("m[%d:%d] = bytes(8)" % (len(content) - 8, len(content)))
    assert array[-1] == 0  # the same memory


def test_what_is_written_to_an_array_stays_in_this_process(segment):
    content = layout(bytes(8 * 10_000))
    other = segment(1 << 20, content)
    (mine,), (fresh,) = other.attach(len(content)), other.attach(len(content))
    numpy.frombuffer(mine, "<f8")[:] = 7
    assert numpy.frombuffer(fresh, "<f8").sum() == 0


def test_the_memory_is_released_with_the_last_array(segment):
    content = layout(b"head", bytes(4_096), bytes(8_192))
    other, released = segment(131_072, content), []
    parts = other.attach(len(content), released=lambda: released.append(True))
    first, second = numpy.frombuffer(parts[1], "u1"), numpy.frombuffer(parts[2], "u1")[10:20]
    held = weakref.ref(first)
    del parts, first
    gc.collect()
    assert held() is None and released == []
    del second
    gc.collect()
    assert released == [True]
    assert "whipray-test" not in open("/proc/self/maps").read()


def test_arrays_stay_readable_when_the_owner_of_the_memory_is_killed(segment):
    content = layout(b"x" * 10_000)
    other = segment(131_072, content)
    (part,) = other.attach(len(content))
    other.process.kill()
    other.process.wait()
    assert bytes(part) == b"x" * 10_000


def test_nobody_can_truncate_a_sealed_segment_under_its_reader(segment):
    content = layout(b"x" * 10_000)
    other = segment(131_072, content)
    (part,) = other.attach(len(content))
    assert other.do("os.ftruncate(fd, 0)") == "1"  # EPERM
    assert part[9_999] == ord("x")


@pytest.mark.parametrize(
    "before, why",
    [("", "not sealed"), ("os.ftruncate(fd, 4096)", "4096 bytes instead of 131072"), ("os.close(fd)", "cannot be opened")],
)
def test_a_segment_that_is_truncated_unsealed_or_gone_is_an_error(segment, before, why):
    content = layout(b"x" * 10_000)
    other = segment(131_072, content, seal="open")
    if before:
        other.do(before)
    with pytest.raises(HostError, match=why) as caught:
        other.attach(len(content))
    assert caught.value.code == "SEGMENT_LOST"


def test_another_file_is_not_taken_for_a_segment(segment):
    other = segment(131_072, layout(b"x"))
    other.fd = 0
    with pytest.raises(HostError, match="its descriptor is"):
        other.attach(10)


@pytest.mark.parametrize(
    "content",
    [b"", b"WRO1", struct.pack("<II", 1, 0), struct.pack("<II", segments.MAGIC, 5_000), struct.pack("<IIQ", segments.MAGIC, 1, 2**63), layout(b"ab") + b"c"],
)
def test_memory_that_is_no_object_is_refused(content):
    with pytest.raises(HostError) as caught:
        segments.parts_of(memoryview(content))
    assert caught.value.code == "OBJECT_CORRUPT"
