"""Times local-reg-nde's shapes in PyTorch; prints one JSON object {"name", "seconds"} per measurement.

The solver is torchdiffeq's way written out: Tsit5 stage by stage on tensors, the error's norm over the
whole batch, the same controller and first step as in the crate, backpropagation through the steps.
"""

import json
import math
import os
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))

BATCH, TOLERANCE = 512, 1e-6
NODES = [0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0]
WEIGHTS = [
    [],
    [0.161],
    [-0.008480655492356989, 0.335480655492357],
    [2.8971530571054935, -6.359448489975075, 4.3622954328695815],
    [5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525],
    [5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383],
    [0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774],
]
ERROR = [
    -0.001780011052225777, -0.0008164344596567469, 0.007880878010261995, -0.1447110071732629,
    0.5823571654525552, -0.45808210592918697, 0.015151515151515152,
]
DTYPES = {"f64": torch.float64, "f32": torch.float32}


def rms(x):
    return x.square().mean().sqrt().item()


def scaled(x, a, b):
    with torch.no_grad():
        return rms(x / (TOLERANCE + TOLERANCE * torch.maximum(a.abs(), b.abs())))


def first_step(f, u, slope, t, span):
    with torch.no_grad():
        d0, d1 = scaled(u, u, u), scaled(slope, u, u)
        guess = min(1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1, span)
        d2 = scaled(f(u + guess * slope, t + guess) - slope, u, u) / guess
        largest = max(d1, d2)
        second = max(1e-6, 1e-3 * guess) if largest <= 1e-15 else 10 ** (-(2 + math.log10(largest)) / 5)
        return min(100 * guess, second, span)


def take(f, u, slope, t, dt):
    slopes = [slope]
    for row, node in zip(WEIGHTS[1:], NODES[1:]):
        argument = u
        for weight, k in zip(row, slopes):
            argument = argument + (dt * weight) * k
        slopes.append(f(argument, t + node * dt))
    return argument, slopes


def error_of(slopes, dt):
    total = (dt * ERROR[0]) * slopes[0]
    for weight, k in zip(ERROR[1:], slopes[1:]):
        total = total + (dt * weight) * k
    return total


def solve(f, u, t=0.0, end=1.0, at=None):
    """The state at the end, and at one time on the way by cutting no step: its step and state."""
    slope = f(u, t)
    dt, last, found = first_step(f, u, slope.detach(), t, end - t), 1e-4, None
    while t < end:
        dt = min(dt, end - t)
        after, slopes = take(f, u, slope, t, dt)
        with torch.no_grad():
            error = scaled(error_of([k.detach() for k in slopes], dt), u, after)
        powered = error ** 0.14
        if error <= 1:
            quotient = min(max(powered / last ** 0.08 / 0.9, 0.1), 5.0) if error > 0 else 0.1
            last = max(error, 1e-4)
            if at is not None and found is None and at <= t + dt:
                found = u.detach()
            t = end if abs(end - t - dt) < 1e-13 else t + dt
            u, slope, dt = after, slopes[-1], dt / quotient
        else:
            dt = dt / min(5.0, powered / 0.9)
    return u, found


class Node(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.first = nn.Linear(785, 100, dtype=dtype)
        self.last = nn.Linear(101, 784, dtype=dtype)
        self.classifier = nn.Linear(784, 10, dtype=dtype)
        for layer in (self.first, self.last, self.classifier):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def field(self, u, t):
        time = torch.full((u.shape[0], 1), t, dtype=u.dtype)
        hidden = torch.tanh(self.first(torch.cat([u, time], 1)))
        return self.last(torch.cat([hidden, time], 1))


def report(name, run, samples, warm=1):
    for _ in range(warm):
        run()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": statistics.median(times)}), flush=True)


def problem(dtype):
    torch.manual_seed(0)
    return Node(dtype), torch.rand(BATCH, 784, dtype=dtype), torch.arange(BATCH) % 10


def forward(dtype):
    model, x, _ = problem(dtype)

    def run():
        with torch.no_grad():
            return model.classifier(solve(model.field, x)[0])

    return run


def gradient(dtype):
    model, x, labels = problem(dtype)

    def run():
        model.zero_grad()
        loss = F.cross_entropy(model.classifier(solve(model.field, x)[0]), labels)
        loss.backward()
        return loss.item()

    return run


def local(dtype):
    model, x, labels = problem(dtype)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run():
        optimiser.zero_grad()
        at = torch.rand(()).item() * 0.9
        end, u = solve(model.field, x, at=at)
        loss = F.cross_entropy(model.classifier(end), labels)
        slope = model.field(u, at)
        dt = first_step(model.field, u, slope.detach(), at, 1.0 - at)
        after, slopes = take(model.field, u, slope, at, dt)
        scale = TOLERANCE + TOLERANCE * torch.maximum(u.abs(), after.abs())
        loss = loss + dt * (error_of(slopes, dt) / scale).square().mean().sqrt()
        loss.backward()
        optimiser.step()
        return loss.item()

    return run


def main(only):
    def wanted(name):
        return not only or name in only

    for suffix, dtype in DTYPES.items():
        if wanted(f"solve_{suffix}"):
            report(f"solve_{suffix}", forward(dtype), 20)
    if wanted("solve_layers_f64"):
        report("solve_layers_f64", forward(torch.float64), 10)
    for suffix, dtype in DTYPES.items():
        if wanted(f"gradient_{suffix}"):
            report(f"gradient_{suffix}", gradient(dtype), 10)
    if wanted("step_local_f64"):
        report("step_local_f64", local(torch.float64), 10)


if __name__ == "__main__":
    main(sys.argv[1:])
