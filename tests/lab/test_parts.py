"""What the lab is made of, without a browser: its errors, its columns, its networks, its process for each framework."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.cli import main
from gammabeta.lab import batch_noise, datasets, digits, peers, server
from gammabeta.lab.live_training import Live


def test_a_port_in_use_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["lab", "--no-browser", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"gammabeta: the lab needs a free port, {port} cannot be had (Address already in use); "
        f"name another with --port, or --port 0 for any\n"
    )


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_port_that_is_none_is_one_line(port, capsys):
    assert main(["lab", "--no-browser", "--port", port]) == 2
    assert "Invalid value for '--port'" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    assert main(["lab"]) == 2
    assert capsys.readouterr().err == "gammabeta: the lab needs marimo and altair: pip install 'gammabeta[lab]'\n"


@pytest.mark.slow
def test_without_a_browser_the_address_is_said_and_the_page_served():
    """On SIGTERM, too, it ends cleanly."""
    code = (
        "import sys, webbrowser; webbrowser.open = lambda url: False\n"
        "from gammabeta.cli import main; sys.exit(main(['lab', '--port', '0']))"
    )
    lab = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = lab.stdout.readline().split()[4]
    assert lab.stderr.readline() == "gammabeta: note: no browser could be opened; open that address in one\n"
    place, _, path = address.removeprefix("http://").partition("/")
    answers = [status(place, *asked) for asked in ((place, path), ("elsewhere.example", path), (place, ""))]
    lab.terminate()
    assert lab.wait(timeout=30) == 0
    lab.communicate()
    assert answers == ["200 OK", "403 Forbidden", "403 Forbidden"]


def status(place: str, name: str, path: str) -> str:
    """What the server says to one who calls it by a name and asks for a path."""
    host, port = place.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(f"GET /{path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        return line.makefile().readline().strip().split(" ", 1)[1]


@pytest.mark.slow
def test_the_page_runs_as_a_script():
    done = subprocess.run(
        [sys.executable, "-W", "error", str(server.PAGE)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_page_is_as_marimo_writes_it():
    """No name is defined by two cells, no cell waits for itself."""
    done = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", str(server.PAGE)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_are_skewed_two_humped_and_nearly_even():
    from scipy.stats import skew

    skewed, humps, even = (column.values for column in datasets.examples().values())
    assert skew(skewed) > 1 and abs(skew(even)) < 0.1
    counts = np.histogram(humps, bins=[1, 2, 3, 4, 6])[0]
    assert counts[1] == 0 and counts[0] > 40 and counts[3] > 40


def test_a_column_of_a_file():
    contents = b"a,b,c\n1,x,5\n,y,5\n3,z,5\n"
    assert datasets.names("t.csv", contents) == ["a", "c"]
    assert datasets.read("t.csv", contents, "a").values.tolist() == [1.0, 3.0]
    with pytest.raises(gb.DataError, match=r"two different numbers at least to have a shape, 'c' in 't\.csv' has not"):
        datasets.read("t.csv", contents, "c")


@pytest.mark.parametrize(
    ("file", "contents", "message"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a\nx\n", "at least one numeric column is needed, 't.csv' has none"),
        ("t.parquet", b"PAR1", "cannot be read as Parquet"),
        ("t.xlsx", b"a", "a data file's name must end in .csv"),
        ("../../t.xlsx", b"a", "a data file's name must end in .csv"),
    ],
)
def test_a_file_that_is_none(file, contents, message):
    with pytest.raises(gb.GammabetaError, match=message):
        datasets.names(file, contents)


def test_the_address_holds_the_language_that_is_asked_for():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"http://127.0.0.1:{listening.getsockname()[1]}/t/"
        assert server.address(listening, "t") == place
        assert server.address(listening, "t", "ko") == f"{place}?lang=ko"


def test_a_long_file_is_read_to_its_first_rows():
    rows = np.arange(datasets.ROWS + 50_000)
    contents = b"a\n" + "\n".join(map(str, rows.tolist())).encode()
    np.testing.assert_array_equal(datasets.read("t.csv", contents, "a").values, rows[: datasets.ROWS])


def test_the_gradient_is_that_of_the_loss():
    """A step against the slope of one weight changes the loss by it: central differences, error h²/6 · |f‴|.

    With h = 1e-4 that is about 1e-9 of terms of order 1, and the losses' rounding gives 1e-16 / h = 1e-12.
    """
    rng, h = np.random.default_rng(0), 1e-4
    logits, labels = rng.normal(size=(5, 10)), rng.integers(0, 10, 5)
    _, slope = digits.cross_entropy(logits, labels)
    for place in ((0, 0), (2, labels[2]), (4, 7)):
        up, down = logits.copy(), logits.copy()
        up[place] += h
        down[place] -= h
        change = (digits.cross_entropy(up, labels)[0] - digits.cross_entropy(down, labels)[0]) / (2 * h)
        assert abs(change - slope[place]) < 1e-8


def test_batch_norm_starts_a_deep_stack_that_without_it_does_not():
    live = Live(depth=5, bend="sigmoid", rate=0.3, steps=100)
    for _ in live.run():
        pass
    assert (live.state, live.done) == ("done", 100)
    reached = {way: seen.accuracy[-1] for way, seen in live.seen.items()}
    # Chance is a tenth.
    assert reached["none"] < 0.3 < 0.8 < min(reached["batch norm"], reached["γ = 1, β = 0"])
    learned, frozen = live.seen["batch norm"], live.seen["γ = 1, β = 0"]
    assert not learned.gamma[0].any() and learned.gamma[-1].all() and learned.beta[-1].all()
    assert frozen.gamma == []
    assert all((share >= 0).all() and share.sum(axis=1).max() < 1 + 1e-9 for share in learned.shares)


def test_a_training_can_be_stopped():
    live = Live(depth=2, bend="relu", rate=0.1, steps=1000)
    run = live.run()
    next(run)
    live.stop()
    assert list(run) == [None]
    assert live.state == "stopped" and 0 < live.done < 1000


def test_a_step_that_overflows_teaches_nothing():
    trainer = digits.Trainer(2, "relu", "none", 0.1, 0)
    trainer.network.dense[0].w[:] = 1e300
    trainer.network.dense[1].w[:] = 1e300
    assert np.isnan(trainer.step())
    assert (trainer.network.dense[0].w == 1e300).all()


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_jitter_follows_its_law(per_channel):
    """A standard deviation of 200 normal draws is off by 1/√400, 5 %: five of these allow for all 18 at once.

    A variance of few values is no normal draw, and its own mean takes of it a share of 1/n: twice as much.
    """
    measured, law = batch_noise.measured(per_channel), batch_noise.law(per_channel)
    assert (np.abs(measured.mean / law.mean - 1) < 0.25).all()
    assert (np.abs(measured.variance / law.variance - 1) < 0.5).all()
    np.testing.assert_allclose(law.mean[2:], law.mean[:-2] / 2)


def test_the_running_mean_follows_the_batches():
    found = batch_noise.follow(per_channel=False, n=32, decay=0.5)
    running = 0.0
    for mean, at in zip(found.means, found.running, strict=True):
        running = 0.5 * running + 0.5 * mean
        assert at == pytest.approx(running, rel=1e-6)  # a float32 batch's mean rounds at 2⁻²⁴ = 6e-8, 60 times over


def test_a_layer_without_its_framework_is_named(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "jax" else name)
    assert peers.lacking("Keras on JAX") == ["jax"] == peers.lacking("gammabeta on JAX")
    assert peers.lacking("gammabeta on NumPy") == []


def test_a_process_that_ends_answers_nothing(monkeypatch):
    monkeypatch.setattr(peers, "PROCESSES", {"none of that name": ()})
    ended = peers.Peers()
    assert ended.errors(peers.column(0, 1)) == {}
    ended.close()


def test_the_numpy_process_answers():
    done = subprocess.run(
        [sys.executable, "-m", "gammabeta.lab.peers", "numpy"],
        input=json.dumps([[1.0], [3.0]]) + "\n",
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        check=True,
    )
    answer = json.loads(done.stdout)
    np.testing.assert_array_equal(answer["gammabeta on NumPy"], gb.batch_norm(np.array([[1.0], [3.0]], np.float32)))


def test_an_error_is_measured_against_the_exact_answer():
    x = peers.column(1e4, 1)
    assert peers.error(peers.exact(x), x) == 0
    # γ = 1, β = 0, |y| < 4: rounding y to float32 is at most half an ULP of a number below 4.
    assert peers.error(gb.batch_norm(x, eps=peers.EPS), x) <= 2.0**-23
    assert np.isnan(peers.error(np.full_like(x, np.nan), x))


def test_the_page_is_in_the_package():
    assert {"app.py", "lab.css"} <= {path.name for path in Path(server.PAGE).parent.iterdir()}
