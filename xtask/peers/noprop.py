"""The passes of `models/local-learning/benches/local-learning/noprop.rs` in PyTorch.

Blocks as the paper's figure 6 has them, on 128 images of 32x32 in colour.
"""

import json
import math
import os
import threading
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)
IMAGES, CLASSES, STEPS = 128, 10, 10


def image_path(norm):
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(8192, 256),
        nn.BatchNorm1d(256) if norm else nn.ReLU(),
    )


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        dense = lambda i, o: [nn.Linear(i, o), nn.BatchNorm1d(o)]
        self.image = image_path(True)
        self.first = nn.Sequential(*dense(CLASSES, 256), nn.ReLU())
        self.rest = nn.Sequential(*dense(256, 256), nn.ReLU(), *dense(256, 256))
        self.fuse = nn.Sequential(
            *dense(512, 256), nn.ReLU(), *dense(256, 128), nn.ReLU(), nn.Linear(128, CLASSES)
        )

    def forward(self, x, z):
        h = self.first(z)
        return self.fuse(torch.cat([self.image(x), h + self.rest(h)], 1))


class Continuous(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = image_path(False)
        self.label = nn.Sequential(nn.Linear(CLASSES, 256), nn.ReLU())
        self.time = nn.Sequential(nn.Linear(64, 256), nn.ReLU())
        self.fuse = nn.Sequential(
            nn.Linear(768, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, CLASSES)
        )
        self.register_buffer("rates", 10000 ** (-torch.arange(32) / 32))

    def forward(self, x, z, t):
        angles = t[:, None] * self.rates
        time = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        return self.fuse(torch.cat([self.image(x), self.label(z), time], 1))


class Gamma(nn.Module):
    """The trained schedule; its derivative is written out."""

    def __init__(self):
        super().__init__()
        self.w1, self.b1, self.w2 = (nn.Parameter(torch.randn(64)) for _ in range(3))
        self.ends = nn.Parameter(torch.tensor([-5.0, 5.0]))

    def network(self, t):
        slope, height = F.softplus(self.w1), F.softplus(self.w2)
        s = torch.sigmoid(t[:, None] * slope + self.b1)
        return (s * height).sum(1), (s * (1 - s) * slope * height).sum(1)

    def forward(self, t):
        low, high = self.network(torch.tensor([0.0, 1.0]))[0]
        value, rate = self.network(t)
        span = self.ends[1] - self.ends[0]
        gamma = self.ends[1] - span * (value - low) / (high - low)
        return gamma, torch.exp(-gamma) * span * rate / (high - low)


def schedule():
    wave = lambda k: math.cos(((k / STEPS + 0.008) / 1.008) * math.pi / 2) ** 2
    return [min(max(wave(STEPS - t) / wave(0), 1e-4), 1 - 1e-4) for t in range(STEPS + 1)]


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
    x, y = torch.randn(IMAGES, 3, 32, 32), torch.arange(IMAGES) % CLASSES
    u, bar = torch.eye(CLASSES)[y], schedule()
    snr = [a / (1 - a) for a in bar]
    blocks = nn.ModuleList(Block() for _ in range(STEPS))
    head = nn.Linear(CLASSES, CLASSES)
    noised = lambda a: a**0.5 * u + (1 - a) ** 0.5 * torch.randn_like(u)

    def loss(at, head):
        denoised = blocks[at](x, noised(bar[at])).softmax(1)
        error = (denoised - u).square().sum(1).mean()
        weight = 0.5 * STEPS * 0.1 * (snr[at + 1] - snr[at])
        return F.cross_entropy(head(noised(bar[-1])), y) + weight * error

    def stepper(parameters, loss, kind=torch.optim.AdamW):
        optimiser = kind(parameters, lr=1e-3, weight_decay=1e-3)

        def step():
            optimiser.zero_grad()
            value = loss()
            value.backward()
            optimiser.step()
            return value.item()

        return step

    everything = [*blocks.parameters(), *head.parameters()]
    measure("block_step", stepper(everything, lambda: loss(5, head)), 10)

    ct, gamma = Continuous(), Gamma()

    def continuous():
        t = torch.rand(IMAGES)
        level, rate = gamma(t)
        ends, _ = gamma(torch.tensor([0.0, 1.0]))
        z = torch.sigmoid(-level).sqrt()[:, None] * u
        z = z + torch.sigmoid(level).sqrt()[:, None] * torch.randn_like(u)
        last = torch.sigmoid(-ends[1]).sqrt() * u
        last = last + torch.sigmoid(ends[1]).sqrt() * torch.randn_like(u)
        share = torch.sigmoid(-ends[0])
        prior = 0.5 * (share * (1 - CLASSES) - CLASSES * F.logsigmoid(ends[0]))
        error = (ct(x, z, t).softmax(1) - u).square().sum(1)
        return F.cross_entropy(head(last), y) + prior + 0.5 * (rate * error).mean()

    parameters = [*ct.parameters(), *gamma.parameters(), *head.parameters()]
    measure("ct_step", stepper(parameters, continuous, torch.optim.Adam), 10)

    fm = Continuous()

    def flow():
        t, start = torch.rand(IMAGES), torch.randn_like(u)
        z = t[:, None] * u + (1 - t[:, None]) * start + 0.1 * torch.randn_like(u)
        return (fm(x, z, t) - (u - start)).square().sum(1).mean()

    measure("fm_step", stepper(fm.parameters(), flow, torch.optim.Adam), 10)

    w = nn.Parameter(torch.ones(STEPS))

    def through():
        z = torch.randn_like(u)
        for share, block in zip(w.tanh(), blocks):
            z = (1 - share) * z + share * block(x, z).softmax(1)
        return F.cross_entropy(head(z), y)

    measure("backprop_step", stepper([*everything, w], through), 5)

    # Heads of their own, so that threads do not add to the same gradients.
    heads = [nn.Linear(CLASSES, CLASSES) for _ in range(STEPS)]

    def one(at):
        blocks[at].zero_grad()
        loss(at, heads[at]).backward()

    def at_once():
        threads = [threading.Thread(target=one, args=(at,)) for at in range(STEPS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    measure("ten_blocks_at_once", at_once, 5)
    measure("ten_blocks_in_turn", lambda: [one(at) for at in range(STEPS)], 5)

    blocks.eval()

    def chain():
        z = torch.randn_like(u)
        for before, after, block in zip(bar, bar[1:], blocks):
            alpha = before / after
            a = after**0.5 * (1 - alpha) / (1 - before)
            b = alpha**0.5 * (1 - after) / (1 - before)
            c = (1 - after) * (1 - alpha) / (1 - before)
            z = a * block(x, z).softmax(1) + b * z + c**0.5 * torch.randn_like(z)
        return head(z).argmax(1)

    with torch.no_grad():
        measure("chain", chain, 5)


main()
