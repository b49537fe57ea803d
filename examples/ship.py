"""What ships takes raw data: train on scaled data, fold scaler and batch norms into the layers, export, run.

    python examples/ship.py [--folder FOLDER]

scikit-learn's breast cancer data: 569 real tumours of 30 measurements, from areas in the thousands to fractions below
0.01, of which 143 are held out. A network with batch norms learns from standardized measurements, as networks must.
Then `gammabeta.torch.fold` makes one network of scaler, network and batch norms: three linear layers and two ReLUs,
which take the measurements as they were taken. It is exported to ONNX, and onnxruntime runs it without gammabeta, torch
or a scaler. Its outputs are those of the scaler and the network, as far as float32 can tell: the bound is computed, not
tried.
"""

import argparse
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

import gammabeta as gb
from gammabeta.torch import fold

HALF_ULP = 2.0**-24  # of float32


@dataclass
class Shipped:
    """What was measured on the held-out tumours."""

    report: object
    steps: list[str]
    file: Path
    accuracy_before: float
    accuracy_after: float
    difference: float
    bound: float


def network() -> nn.Sequential:
    """Three linear layers; between them batch norm, a ReLU, and dropout."""
    return nn.Sequential(
        nn.Linear(30, 32, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, 16, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 1),
    )


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> nn.Module:
    """Adam on logits, in batches of 32."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(model(x[batch])[:, 0], y[batch]).backward()
            optimizer.step()
    return model.eval()


def rounding_bound(model: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """How far float32's output can be from the exact one, for each value of it.

    A sum of n products and a bias, each rounded, of weights that were rounded, is right to n + 2 half ULPs of the sum
    of its terms' sizes (Higham 2002, §3.1), and hands on what came in wrong; a ReLU adds nothing.
    """
    wrong = torch.zeros_like(x)
    for layer in model:
        if isinstance(layer, nn.Linear):
            weight, n = layer.weight.abs(), layer.in_features
            terms = (x.abs() + wrong) @ weight.T + layer.bias.abs()
            wrong = wrong @ weight.T + (n + 2) * HALF_ULP * terms
        x = layer(x)
    return wrong


def export(model: nn.Module, file: Path) -> None:
    """Write a model of any number of rows of 30 measurements."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it says which packages it can do without
    rows = torch.export.Dim("rows")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch's, about its own code
        torch.onnx.export(
            model,
            (torch.zeros(2, 30),),
            file,
            input_names=["measurements"],
            dynamic_shapes=({0: rows},),
            verbose=False,
        )


@torch.no_grad()
def ship(folder: Path, epochs: int = 20) -> Shipped:
    """Train, fold, export and run."""
    torch.manual_seed(0)
    table = load_breast_cancer()
    raw, kind = table.data, table.target
    held = np.arange(len(raw)) % 4 == 0

    scaler = gb.StandardScaler().fit(raw[~held])
    scaled = torch.tensor(scaler.transform(raw), dtype=torch.float32)
    with torch.enable_grad():
        model = train(network(), scaled[~held], torch.tensor(kind[~held], dtype=torch.float32), epochs)

    folded, report = fold(model, scaler=scaler, example=torch.tensor(raw[held], dtype=torch.float32))

    file = folder / "tumours.onnx"
    export(folded, file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"measurements": raw[held].astype(np.float32)})

    # The truth: the scaler and the network as they were trained, both in float64.
    truth = model.double()(torch.tensor(scaler.transform(raw[held].astype(np.float32).astype(np.float64)))).numpy()
    return Shipped(
        report=report,
        steps=[node.op_type for node in onnx.load(file).graph.node],
        file=file,
        accuracy_before=float(((truth[:, 0] > 0) == kind[held]).mean()),
        accuracy_after=float(((logits[:, 0] > 0) == kind[held]).mean()),
        difference=float(np.abs(logits - truth).max()),
        bound=float(rounding_bound(folded.double(), torch.tensor(raw[held])).max()),
    )


def main() -> None:
    """Ship, and say what was shipped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to leave tumours.onnx; without it nothing is left")
    given = parser.parse_args().folder
    with TemporaryDirectory() as temporary:
        shipped = ship(given or Path(temporary))
        print(shipped.report)
        print(f"{shipped.file.name}: {' → '.join(shipped.steps)}, {shipped.file.stat().st_size:,} bytes")
    print(f"held-out accuracy: {shipped.accuracy_before:.1%} with scaler and batch norms, in float64")
    print(f"                   {shipped.accuracy_after:.1%} from raw data, by onnxruntime alone, in float32")
    print(f"largest difference of a logit: {shipped.difference:.2g}, and float32 may differ by {shipped.bound:.2g}")


if __name__ == "__main__":
    main()
