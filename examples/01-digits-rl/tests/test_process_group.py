"""All-reduce over TCP: the right sum, and an error in time when a peer is gone."""
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from loop import free_port, ranks
from process_group import ProcessGroup
from test_engines import batch


def together(world_size, work, timeout_s=10.0, hello_s=1.0):
    """work(group) on every rank, each in a thread: the outcomes in rank order, exceptions among them."""
    address = ("127.0.0.1", free_port())

    def run(rank):
        group = None
        try:
            group = ProcessGroup(rank, world_size, address, timeout_s, hello_s)
            return work(group)
        except Exception as error:
            return error
        finally:
            if group:
                group.close()

    with ThreadPoolExecutor(world_size) as pool:
        return list(pool.map(run, range(world_size)))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_all_ranks_get_the_same_bits(world_size):
    values = np.random.default_rng(0).normal(0, 1, (world_size, 650))
    sums = together(world_size, lambda group: [group.all_reduce(values[group.rank]) for _ in range(20)])
    assert len({total.tobytes() for each in sums for total in each}) == 1
    assert np.allclose(sums[0][0], values.sum(axis=0))


@pytest.mark.parametrize("dead", [0, 1])
def test_a_rank_that_is_killed_in_a_collective_fails_the_other_which_names_it(dead):
    alive = 1 - dead
    with ranks(timeout_s=20.0) as two:
        two.call("create_process_group")
        two.call("initialize", [(0,), (0,)])
        two.start(alive, "train_batch", *batch(4))
        two.processes[dead].kill()
        _, error = two.outcome(alive, timeout_s=10)
        assert isinstance(error, ConnectionError) and f"rank {alive} lost rank {dead}" in str(error)
        two.start(alive, "train_batch", *batch(4))
        assert isinstance(two.outcome(alive, timeout_s=10)[1], ConnectionError)
        two.start(alive, "destroy")
        assert two.outcome(alive) == (None, None)


def test_a_rank_that_falls_silent_fails_the_other_after_the_timeout():
    with ranks(timeout_s=0.5) as two:
        two.call("create_process_group")
        two.call("initialize", [(0,), (0,)])
        two.start(0, "train_batch", *batch(4))
        _, error = two.outcome(0, timeout_s=10)
        assert isinstance(error, ConnectionError) and str(error) == "rank 0 lost rank 1: timed out"


def test_ranks_that_are_out_of_step_are_told_so():
    found = together(2, lambda group: group.all_reduce([1.0] * (group.rank + 1)), timeout_s=0.5)
    assert isinstance(found[0], ConnectionError) and "out of step" in str(found[0])
    assert isinstance(found[1], ConnectionError)


def test_rank_0_names_the_ranks_that_never_came():
    with pytest.raises(ConnectionError, match=r"for ranks \{1, 2\} in vain"):
        ProcessGroup(0, 3, ("127.0.0.1", free_port()), timeout_s=0.2)


def test_a_rank_that_finds_no_rank_0_says_where_it_looked():
    port = free_port()
    with pytest.raises(ConnectionError, match=f"rank 1 found no rank 0 at .*{port}"):
        ProcessGroup(1, 2, ("127.0.0.1", port), timeout_s=0.2)


@pytest.mark.parametrize(
    "hello",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: rank0\r\n\r\n",
        struct.pack("<4sI2d", b"DRL1", 2, 1, 3),  # a rank of a larger world
        struct.pack("<4sI2d", b"DRL1", 2, 0.5, 2),
        struct.pack("<4sI2d", b"DRL1", 2, float("nan"), 2),
        struct.pack("<4sI", b"DRL1", 2**32 - 1),  # 32 GiB, it says
    ],
)
def test_a_stranger_at_the_meeting_point_does_not_keep_the_ranks_apart(hello):
    address = ("127.0.0.1", free_port())
    with ThreadPoolExecutor(2) as pool, socket.socket() as stranger:
        first = pool.submit(ProcessGroup, 0, 2, address, 10.0, 0.2)
        while stranger.connect_ex(address):
            assert not first.done()
        stranger.sendall(hello)
        second = pool.submit(ProcessGroup, 1, 2, address, 10.0)
        groups = [first.result(), second.result()]
        assert [list(each) for each in pool.map(lambda group: group.all_reduce([1]), groups)] == [[2], [2]]
        for group in groups:
            group.close()


def test_ranks_meet_over_ipv6():
    with ThreadPoolExecutor(2) as pool, socket.socket(socket.AF_INET6) as lease:
        try:
            lease.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            lease.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no ::1")
        for group in pool.map(lambda rank: ProcessGroup(rank, 2, lease.getsockname()[:2], 10.0), range(2)):
            group.close()


def test_rank_0_can_listen_on_a_port_that_is_held_by_a_bound_socket_which_reuses_addresses():
    with socket.socket() as lease:
        lease.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        lease.bind(("127.0.0.1", 0))
        with ThreadPoolExecutor(2) as pool:
            for group in pool.map(lambda rank: ProcessGroup(rank, 2, lease.getsockname(), 10.0), range(2)):
                group.close()
