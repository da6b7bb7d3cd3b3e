"""Times shallow's shapes in PyTorch; prints one JSON object {"name", "seconds"} per measurement."""

import json
import os
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
torch.manual_seed(0)


class Stack(nn.Module):
    def __init__(self, channels, image, layers, filters, kernel, parallel):
        super().__init__()
        conv = lambda inputs: nn.Conv2d(inputs, filters, kernel, padding="same")
        self.stem = conv(channels)
        self.layers = nn.ModuleList(conv(filters) for _ in range(layers))
        self.classifier = nn.Linear(filters * image * image, 10)
        self.parallel = parallel

    def features(self, x):
        h = self.stem(x)
        if self.parallel:
            return h + sum(F.relu(layer(h)) for layer in self.layers)
        for layer in self.layers:
            h = h + F.relu(layer(h))
        return h

    def fused(self, x):
        h = self.stem(x)
        terms = F.relu(F.conv2d(h, self.wide, self.wide_bias, padding="same"))
        return h + terms.unflatten(1, (len(self.layers), -1)).sum(1)

    def fuse(self):
        self.wide = torch.cat([layer.weight for layer in self.layers]).detach()
        self.wide_bias = torch.cat([layer.bias for layer in self.layers]).detach()
        return self

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def report(name, run, samples, warm=1):
    for _ in range(warm):
        run()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": statistics.median(times)}), flush=True)


def step(parallel):
    model = Stack(1, 14, 16, 8, 3, parallel)
    x, labels = torch.rand(64, 1, 14, 14), torch.arange(64) % 10
    optimiser = torch.optim.RMSprop(model.parameters(), lr=5e-4, alpha=0.9, eps=1e-7)

    def run():
        optimiser.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return run


def main(only):
    def wanted(name):
        return not only or name in only

    with torch.no_grad():
        x = torch.randn(256, 3, 32, 32)
        if wanted("sequential_16"):
            model = Stack(3, 32, 16, 32, 3, False)
            report("sequential_16", lambda: model.features(x), 3)
        wide = Stack(3, 32, 16, 32, 3, True).fuse()
        if wanted("parallel_16"):
            report("parallel_16", lambda: wide.features(x), 3)
        if wanted("fused_16"):
            report("fused_16", lambda: wide.fused(x), 3)
        if wanted("forward_small"):
            small, images = Stack(1, 14, 16, 8, 3, False), torch.rand(64, 1, 14, 14)
            report("forward_small", lambda: small(images), 30)
    for name, parallel in (("step_sequential", False), ("step_parallel", True)):
        if wanted(name):
            report(name, step(parallel), 20)


if __name__ == "__main__":
    main(sys.argv[1:])
