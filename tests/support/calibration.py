"""Small real networks, trained on scikit-learn's digits in a second or two, and what every test of them asks for."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional


def digits():
    """(1797, 1, 8, 8) from 0 to 1, shuffled, and their classes."""
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(found.images, dtype=torch.float32)[order, None] / 16, torch.tensor(found.target)[order]


class Block(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x))))))"""

    def __init__(self, width, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width)

    def forward(self, x):
        return functional.relu(x + self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x))))))


def residual(width=8, norm=nn.BatchNorm2d):
    """A residual network of 5 batch norms."""
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
    stem = nn.Conv2d(1, width, 3, padding=1, bias=False), norm(width), nn.ReLU()
    return nn.Sequential(*stem, Block(width, norm), nn.MaxPool2d(2), Block(width, norm), *head)


def mlp(width=32, norm=nn.BatchNorm1d):
    """A perceptron of 2 batch norms."""
    layers = nn.Linear(64, width), norm(width), nn.ReLU(), nn.Linear(width, width), norm(width), nn.ReLU()
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, 10))


def trained(model, steps=60, size=32, rate=0.05):
    """The model after some steps on the first 1,200 digits."""
    generator = torch.Generator().manual_seed(1)
    x, y = digits()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    model.train()
    for _ in range(steps):
        at = torch.randint(0, 1200, (size,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(model(x[at]), y[at]).backward()
        optimizer.step()
    return model


def seeded(make, *arguments, **options):
    """A network whose random weights are the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*arguments, **options)


def norms(model):
    """Its layers with running statistics, by name."""
    return {name: m for name, m in model.named_modules() if getattr(m, "running_mean", None) is not None}


def everything(model):
    """All that a model may lose: every tensor's bytes, modes, requires_grad, gradients, momenta, hooks."""
    tensors = {name: value.clone() for name, value in model.state_dict(keep_vars=False).items()}
    flags = {
        name: (m.training, getattr(m, "momentum", None), len(m._forward_pre_hooks), len(m._forward_hooks))
        for name, m in model.named_modules()
    }
    gradients = {
        name: (p.requires_grad, None if p.grad is None else p.grad.clone()) for name, p in model.named_parameters()
    }
    return tensors, flags, gradients


def unchanged(before, after):
    """Whether two `everything`s are the same, bit for bit."""
    tensors = all(torch.equal(before[0][name], after[0][name]) for name in before[0] | after[0])
    gradients = all(
        a[0] == b[0] and (a[1] is b[1] is None or torch.equal(a[1], b[1]))
        for a, b in ((before[2][name], after[2][name]) for name in before[2] | after[2])
    )
    return tensors and gradients and before[1] == after[1]
