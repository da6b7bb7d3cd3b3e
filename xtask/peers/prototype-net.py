"""The benches of prototype-net in PyTorch: 250 images of 1x28x28.

Prints one JSON line per measurement, {"name", "seconds"}: the median of the repetitions. The
number of threads is that of OMP_NUM_THREADS.
"""

import json
import math
import os
import time

import torch
import torch.nn.functional as F

BATCH, PROTOTYPES, CLASSES = 250, 15, 10
SIZES, MAPS = [28, 14, 7, 4, 2], [1, 32, 32, 32, 10]
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)


def same(size):
    """TensorFlow's "SAME" padding of a 3x3 convolution with stride 2: before and after."""
    total = max((math.ceil(size / 2) - 1) * 2 + 3 - size, 0)
    return total // 2, total - total // 2


class PrototypeNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        pairs = list(zip(MAPS, MAPS[1:]))
        self.encoder = torch.nn.ModuleList(torch.nn.Conv2d(i, o, 3, 2) for i, o in pairs)
        self.decoder = torch.nn.ModuleList(torch.nn.ConvTranspose2d(o, i, 3, 2) for i, o in pairs)
        self.prototypes = torch.nn.Parameter(torch.rand(PROTOTYPES, 40))
        self.classifier = torch.nn.Parameter(torch.rand(PROTOTYPES, CLASSES))

    def forward(self, x):
        for conv, size in zip(self.encoder, SIZES):
            before, after = same(size)
            x = F.relu(conv(F.pad(x, (before, after, before, after))))
        z = x.flatten(1)
        p = self.prototypes
        distances = (z * z).sum(1, keepdim=True) + (p * p).sum(1) - 2 * z @ p.T
        for layer in reversed(range(4)):
            before, _ = same(SIZES[layer])
            crop = slice(before, before + SIZES[layer])
            x = self.decoder[layer](x)[:, :, crop, crop]
            x = F.relu(x) if layer else torch.sigmoid(x)
        return distances, distances @ self.classifier, x


def loss_of(model, x, y):
    distances, logits, reconstruction = model(x)
    error = ((reconstruction - x) ** 2).flatten(1).sum(1).mean()
    r1, r2 = distances.min(0).values.mean(), distances.min(1).values.mean()
    return 20 * F.cross_entropy(logits, y) + error + r1 + r2


def deform(x, noise):
    """Both fields blurred by two passes of a 33-tap Gaussian, then bilinear sampling."""
    sigma, alpha, radius = 4.0, 20.0, 16
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    fields = noise.reshape(-1, 1, 28, 28)
    fields = F.conv2d(fields, taps.view(1, 1, -1, 1), padding=(radius, 0))
    fields = F.conv2d(fields, taps.view(1, 1, 1, -1), padding=(0, radius)) * alpha
    rows, columns = fields.reshape(2, -1, 28, 28)
    position = torch.arange(28.0)
    y = (position.view(28, 1) + rows) / 27 * 2 - 1
    x_ = (position + columns) / 27 * 2 - 1
    return F.grid_sample(x, torch.stack([x_, y], -1), align_corners=True)


def measure(name, run, repetitions=30):
    for _ in range(5):
        run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def main():
    x, y = torch.rand(BATCH, 1, 28, 28), torch.arange(BATCH) % CLASSES
    noise = torch.rand(2, BATCH, 28, 28) * 2 - 1
    model = PrototypeNet()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.002)

    def forward():
        with torch.no_grad():
            model(x)

    def backward():
        optimiser.zero_grad()
        loss_of(model, x, y).backward()

    def step():
        optimiser.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        optimiser.step()
        loss.item()

    measure("forward", forward)
    measure("step", step)
    measure("backward", backward)
    measure("elastic", lambda: deform(x, noise))


if __name__ == "__main__":
    main()
