"""The GPU's kernels without a GPU: interpreted in a process of their own, and compiled for GPUs as far as assembly."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

TESTS = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in a new process, in which Triton interprets."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    environment.pop("CI", None)  # the run around this one has asked for the frameworks already
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *arguments]
    return subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.mark.slow
def test_interpreted(framework):
    framework("torch"), framework("triton")
    result = run(str(TESTS / "support" / "triton_kernels.py"))
    assert result.returncode == 0, f"{result.stdout[-20_000:]}\n{result.stderr[-5_000:]}"
    assert re.fullmatch(r"\d+ passed in .*", result.stdout.strip().splitlines()[-1]), "nothing may be left out"


@pytest.mark.slow
@pytest.mark.long
def test_interpreted_on_the_hostile_columns(framework):
    framework("torch"), framework("triton")
    quiet = ["-W", "ignore::RuntimeWarning"]  # of the infinities that a GPU computes with in silence
    result = run(str(TESTS / "norm" / "test_agreement.py"), "-k", "torch and not operations", *quiet)
    assert result.returncode == 0, f"{result.stdout[-20_000:]}\n{result.stderr[-5_000:]}"
    assert re.search(r"\d+ passed", result.stdout)


def test_a_failure_shows(tmp_path):
    (tmp_path / "test_wrong.py").write_text("import os\n\ndef test():\n    assert not os.environ['TRITON_INTERPRET']\n")
    assert run(str(tmp_path / "test_wrong.py")).returncode == 1


# Compiled: the interpreter runs what Triton's compiler would refuse


POINTERS = {"x", "dy", "y", "dx", "added", "dadded"}
DOUBLES = {"mean", "spread", "counts", "sums", "partial", "center", "scale", "shift", "up", "again"}


def compiled(triton, kernel, types, constants, out="*fp64"):
    """The assembly of a kernel for an H100, as a launch with these arguments would compile it."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = {"gamma": "*fp32", "beta": "*fp32", "mask": "*i1", "by_feature": "i1", "out": out, "infinite": "*i32"}
    signature = {}
    for name in kernel.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif name in POINTERS:
            signature[name] = types
        else:
            signature[name] = "*fp64" if name in DOUBLES else known.get(name, "i32")
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name not in constants}
    aligned = {at: attribute for at, attribute in aligned.items() if signature[kernel.arg_names[at[0]]] != "i1"}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": 8, "enable_fp_fusion": not out.startswith("*i")}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]


@pytest.fixture
def kernels(framework, tmp_path, monkeypatch):
    """Triton, and a kernel's geometry by name."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.fail("TRITON_INTERPRET is for the processes that this file starts")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    return framework("triton")


def geometry(runs, tile):
    return {"RUNS": runs, "ROWS": tile // 1024 if runs else tile // 128, "COLUMNS": 1024 if runs else 128} | (
        {} if runs else {"width": 1}
    )


@pytest.mark.parametrize("types", ["*fp32", "*bf16"])
@pytest.mark.parametrize("runs", [True, False], ids=["runs", "beside"])
@pytest.mark.parametrize(
    ("fused", "masked", "given"), [(False, False, False), (True, True, False), (True, False, True)]
)
def test_batch_norm_compiles(kernels, runs, types, fused, masked, given):
    """With loads and stores of 128 bits: what memory's speed takes."""
    from triton import language

    from gammabeta.kernels.triton import batchnorm

    wide = language.float64 if types == "*fp32" else language.float32
    base = geometry(runs, 4096) | {"MASKED": masked, "WIDE": wide} | ({} if masked else {"mask": None})
    options = {"GIVEN": given, "SCALED": True, "SHIFTED": True, "ADDED": fused, "ACTIVATION": "silu" if fused else ""}
    options |= base | {"eps": 1e-5} | ({} if fused else {"added": None}) | ({"counts": None} if given else {})
    if not given:
        assert "ld.global.v4" in compiled(kernels, batchnorm.moments, types, base)
    for kernel in (batchnorm.apply, batchnorm.slopes, batchnorm.slope):
        absent = {"dadded": None} if kernel is batchnorm.slope and not fused else {}
        text = compiled(kernels, kernel, types, options | absent)
        assert "ld.global.v4" in text
        assert "st.global.v4" in text or kernel is batchnorm.slopes


def test_the_join_compiles(kernels):
    from gammabeta.kernels.triton import batchnorm

    assert "st.global" in compiled(kernels, batchnorm.join, "*fp32", {"BLOCK": 128})


@pytest.mark.parametrize(("types", "doubled"), [("*fp32", False), ("*bf16", False), ("*fp64", True), ("*i32", True)])
@pytest.mark.parametrize("runs", [True, False], ids=["runs", "beside"])
def test_exact_sums_compile(kernels, runs, types, doubled):
    """And nothing in them is fused: their proof knows every rounding."""
    from gammabeta.kernels.triton import moments

    shape = geometry(runs, 2048)
    compiled(kernels, moments.extent, types, shape, out="*i64")
    text = compiled(kernels, moments.folds, types, shape | {"DOUBLED": doubled, "LEAST": 2.0**-25}, out="*i64")
    assert "add.rn.f64" in text and "fma.rn.f64" not in text
    if types != "*i32":
        assert "fma.rn.f64" not in compiled(kernels, moments.image, types, shape, out="*i64")


def test_where_kernels_run(framework, monkeypatch):
    """On GPUs of compute capability 7.0 and more, with Triton; float64 and all else goes to torch's operations."""
    torch = framework("torch")
    from gammabeta.torch.norm import gpu_tiling

    gpu = SimpleNamespace(major=9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    x = SimpleNamespace(dtype=torch.float32, device=torch.device("cuda", 0), is_cuda=True)
    there = [gpu_tiling.reachable(x)]
    gpu.major = 6
    there.append(gpu_tiling.reachable(x))
    gpu.major = 7
    monkeypatch.setattr(gpu_tiling, "TRITON", False)
    there.append(gpu_tiling.reachable(x))
    monkeypatch.setattr(gpu_tiling, "TRITON", True)
    x.dtype = torch.float64
    there.append(gpu_tiling.reachable(x))
    assert there == [True, False, False, False]
    assert not gpu_tiling.reachable(torch.zeros(3))


def test_more_than_two_to_the_31_values(framework):
    """A tile's place is computed in 64 bits; the shape of such a tensor is all that is needed here."""
    torch = framework("torch")
    from gammabeta.torch.norm import gpu_tiling

    x = torch.empty(2**17, 2**15, device="meta")
    tiling = gpu_tiling.Tiling(x, (0,), 4096)
    assert tuple(tiling.shape) == (2**17, 2**15, 1) and tiling.blocks * 128 == 2**15 and tiling.tiles * 32 == 2**17
    parts = tiling.summing(256)[1]
    assert parts <= 65535 and -(-tiling.tiles // parts) <= 256
    assert tiling.mapping() == (256, 1024)
