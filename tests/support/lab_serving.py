"""The lab as the command serves it, for tests in a browser."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def serving(before: str = "") -> Iterator[tuple[str, int]]:
    """The lab's address and process; at its end it stops on Ctrl-C, cleanly and within seconds.

    before: Python that runs first in the process.
    """
    code = (
        f"{before}\nimport sys; from gammabeta.cli import main; sys.exit(main(['lab', '--port', '0', '--no-browser']))"
    )
    lab = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = lab.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{43}/(?= )", said)
        assert found, said
        yield found[0], lab.pid
    finally:
        lab.send_signal(signal.SIGINT)
        _, errors = lab.communicate(timeout=30)
    assert (lab.returncode, errors) == (0, "")
