"""Networks for tests of what is done with trained ones: settled by chance, or trained on scikit-learn's digits."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import nn


@contextmanager
def one_thread() -> Iterator[None]:
    """On small matrices a second thread only costs, and on a busy machine much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def settled(model, seed=0):
    """The model in evaluation, each batch norm with statistics and parameters far from their initial ones."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        values = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * (high - low) + low
        tensor.data.copy_(values)

    for layer in model.modules():
        if getattr(layer, "running_mean", None) is not None:
            uniform(layer.running_mean, -1, 1)
            uniform(layer.running_var, 0.5, 2)
            if layer.weight is not None:
                uniform(layer.weight, -1.5, 1.5)
            if layer.bias is not None:
                uniform(layer.bias, -1, 1)
    return model.eval()


class Block(nn.Module):
    """Two convolutions with norms, and a way past them: ResNet's basic block (He et al. 2015)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.past = nn.Identity()
        if inputs != outputs or stride > 1:
            self.past = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + self.past(x))


class Residual(nn.Module):
    """A residual network for (n, 1, 8, 8)."""

    def __init__(self, width=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1))
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def perceptron():
    """A multilayer perceptron for (n, 64)."""
    return nn.Sequential(
        nn.Linear(64, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(32, 32, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.BatchNorm1d(32),
        nn.Linear(32, 10),
    )


@cache
def digits():
    """The pictures, (n, 64) from 0 to 1 in float32, and their labels: those to train on, and those held out."""
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    held_out = torch.arange(len(x)) % 4 == 0
    return (x[~held_out], y[~held_out]), (x[held_out], y[held_out])


def trained(model, x, y, epochs=5):
    """The model after some epochs of Adam, in evaluation."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


def accuracy(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()
