"""Times least squares and gradient pursuit in PyTorch; one JSON object {"name", "seconds"} each.

As users write them today: torch.linalg.lstsq with its rank-revealing driver, and pursuit with dense
weights for all rows of a batch.
"""

import json
import os
import statistics
import time

import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
torch.manual_seed(0)
ROWS, WIDTH, FEATURES, STEPS, BATCH = 15_000, 2_304, 16_384, 16, 256


def measure(name, run, repeats):
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": statistics.median(seconds)}), flush=True)


def decompose(x, y, train):
    error = x - y
    probe = torch.linalg.lstsq(x[train], error[train], rcond=1e-9).solution
    linear = x @ probe
    held = ~train
    residual = ((error - linear)[held] ** 2).sum(0)
    total = ((error[held] - error[held].mean(0)) ** 2).sum(0)
    variance = ((x - x.mean(0)) ** 2).sum()
    fvu = ((x - y) ** 2).sum() / variance
    rest = ((x - y - linear) ** 2).sum() / variance
    return (1 - residual / total).mean(), fvu, rest


def pursue(dictionary, signal, steps):
    weights = torch.zeros(signal.shape[0], dictionary.shape[0])
    for _ in range(steps):
        residual = signal - weights @ dictionary
        inner = residual @ dictionary.T
        support = weights != 0
        support[torch.arange(len(signal)), inner.argmax(1)] = True
        gradient = inner * support
        direction = gradient @ dictionary
        length = (direction * residual).sum(1) / (direction * direction).sum(1)
        weights = (weights + length[:, None] * gradient).clamp_min(0)
    return weights


with torch.no_grad():
    x, y = torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)
    measure("least_squares_error", lambda: torch.linalg.lstsq(x, y, rcond=1e-9), 1)
    measure("least_squares_norm", lambda: torch.linalg.lstsq(x, y[:, :1], rcond=1e-9), 1)
    small = torch.randn(48_000, 64)
    recon = 0.9 * small + 0.1 * torch.randn(48_000, 64)
    train = torch.rand(48_000) < 0.6
    measure("decompose_small", lambda: decompose(small, recon, train), 10)
    dictionary, signal = torch.randn(FEATURES, WIDTH), torch.randn(BATCH, WIDTH)
    measure("pursuit", lambda: pursue(dictionary, signal, STEPS), 3)
