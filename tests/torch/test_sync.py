"""Two processes with uneven shares of a batch give what one process gives of the whole: on the CPU, over gloo."""

import socket

import pytest

torch = pytest.importorskip("torch")
from torch import distributed, multiprocessing  # noqa: E402

from two_processes import work  # noqa: E402


@pytest.mark.slow
def test_two_processes_do_as_one():
    if not distributed.is_gloo_available():
        pytest.skip("this torch was built without gloo")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    multiprocessing.spawn(work, (port,), nprocs=2)
