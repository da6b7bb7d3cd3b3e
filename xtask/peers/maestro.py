"""The passes of `models/edge/benches/edge/maestro.rs` in PyTorch.

Layers as the official code has them: two linear maps of which a step truncates the first ranks, and
the lasso by cumulative sums over all factors.
"""

import json
import os
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)
WIDTH, ROWS, TALL = 1024, 128, 2048


class LodLinear(nn.Module):
    def __init__(self, inputs, outputs, rank=None):
        super().__init__()
        self.rank = rank or min(inputs, outputs)
        self.v = nn.Parameter(torch.randn(self.rank, inputs) * inputs**-0.5)
        self.u = nn.Parameter(torch.randn(outputs, self.rank) * self.rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x, rank=None):
        rank = rank or self.rank
        return F.linear(F.linear(x, self.v[:rank]), self.u[:, :rank], self.bias)

    def factors(self):
        return self.u, self.v


class LodConv(nn.Module):
    def __init__(self, inputs, outputs, kernel, rank=None):
        super().__init__()
        self.rank = rank or min(inputs * kernel * kernel, outputs)
        scale = (inputs * kernel * kernel) ** -0.5
        self.v = nn.Parameter(torch.randn(self.rank, inputs, kernel, kernel) * scale)
        self.u = nn.Parameter(torch.randn(outputs, self.rank, 1, 1) * self.rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x, rank=None):
        rank = rank or self.rank
        return F.conv2d(F.conv2d(x, self.v[:rank]), self.u[:, :rank], self.bias)

    def factors(self):
        return self.u.flatten(1), self.v.flatten(1)


class LeNet(nn.Module):
    """With layers of those ranks; a rank of 0 is a dense layer."""

    def __init__(self, ranks=None):
        super().__init__()
        ranks = ranks or [None] * 5
        conv = lambda i, o, r: nn.Conv2d(i, o, 5) if r == 0 else LodConv(i, o, 5, r)
        linear = lambda i, o, r: nn.Linear(i, o) if r == 0 else LodLinear(i, o, r)
        self.layers = nn.ModuleList(
            [
                conv(1, 6, ranks[0]),
                conv(6, 16, ranks[1]),
                linear(256, 120, ranks[2]),
                linear(120, 84, ranks[3]),
                linear(84, 10, ranks[4]),
            ]
        )

    def forward(self, x, cut=None):
        for at, layer in enumerate(self.layers):
            if at == 2:
                x = x.flatten(1)
            x = layer(x, cut[1]) if cut and cut[0] == at else layer(x)
            if at < 4:
                x = F.relu(x)
            if at < 2:
                x = F.max_pool2d(x, 2)
        return x

    def lasso(self):
        total = 0
        for layer in self.layers:
            u, v = layer.factors()
            total = total + v.pow(2).flip([0]).cumsum(0).flip([0]).sum(1).sqrt().sum()
            total = total + u.pow(2).flip([1]).cumsum(1).flip([1]).sum(0).sqrt().sum()
        return total


def measure(name, run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def main():
    x = torch.randn(ROWS, WIDTH)
    for name, layer in (
        ("linear_dense", nn.Linear(WIDTH, WIDTH)),
        ("linear_64", LodLinear(WIDTH, WIDTH, 64)),
        ("linear_256", LodLinear(WIDTH, WIDTH, 256)),
        ("linear_1024", LodLinear(WIDTH, WIDTH, 1024)),
    ):
        with torch.no_grad():
            measure(name, lambda: layer(x), 50)

        def backward():
            layer.zero_grad()
            layer(x).sum().backward()

        measure(f"{name}_backward", backward, 30)

    x = torch.randn(TALL, WIDTH)
    for name, layer in (
        ("linear_tall_dense", nn.Linear(WIDTH, WIDTH)),
        ("linear_tall_64", LodLinear(WIDTH, WIDTH, 64)),
        ("linear_tall_256", LodLinear(WIDTH, WIDTH, 256)),
    ):
        with torch.no_grad():
            measure(name, lambda: layer(x), 20)

    images = torch.randn(ROWS, 1, 28, 28)
    with torch.no_grad():
        for name, ranks in (("lenet_dense", [0] * 5), ("lenet_20", [2, 4, 24, 17, 2])):
            model = LeNet(ranks)
            measure(name, lambda: model(images), 20)

    model, labels = LeNet(), torch.arange(ROWS) % 10
    sgd = lambda: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    optimiser = sgd()
    pairs = [(at, rank) for at, layer in enumerate(model.layers) for rank in range(1, layer.rank + 1)]
    order = iter(torch.randperm(len(pairs)).tolist())

    def step():
        loss = F.cross_entropy(model(images, pairs[next(order)]), labels) + 1e-6 * model.lasso()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()

    measure("lenet_step", step, 20)
    optimiser = sgd()

    def lasso():
        loss = 1e-6 * model.lasso()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    measure("lasso", lasso, 50)


main()
