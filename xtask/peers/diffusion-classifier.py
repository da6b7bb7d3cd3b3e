"""The benches of diffusion-classifier in PyTorch: the ADM U-Net, small and at 256x256.

Prints one JSON line per measurement, {"name", "seconds"}: the median of the repetitions. The
number of threads is that of OMP_NUM_THREADS. Names can be given as arguments, to measure those only.
"""

import json
import math
import os
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)


class Residual(nn.Module):
    def __init__(self, inputs, outputs, embedding, resample=None):
        super().__init__()
        self.in_norm, self.out_norm = nn.GroupNorm(32, inputs), nn.GroupNorm(32, outputs)
        self.in_conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.out_conv = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.embedding = nn.Linear(embedding, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.resample = resample or (lambda x: x)

    def forward(self, x, e):
        h = self.in_conv(self.resample(F.silu(self.in_norm(x))))
        scale, shift = self.embedding(F.silu(e))[:, :, None, None].chunk(2, dim=1)
        h = F.silu(self.out_norm(h) * (1 + scale) + shift)
        return self.skip(self.resample(x)) + self.out_conv(h)


class Attention(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(32, channels), channels // width
        self.qkv, self.proj = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, channels, 1)

    def forward(self, x, _):
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x).flatten(2)).reshape(b * self.heads, -1, h * w)
        q, k, v = qkv.chunk(3, dim=1)
        size = c // self.heads
        weights = torch.softmax(q.transpose(1, 2) @ k * size**-0.5, dim=-1)
        mixed = (v @ weights.transpose(1, 2)).reshape(b, c, h * w)
        return x + self.proj(mixed).reshape(x.shape)


class Plain(nn.Module):
    """A convolution with what comes before it."""

    def __init__(self, inputs, outputs, stride=1, up=False):
        super().__init__()
        self.conv, self.up = nn.Conv2d(inputs, outputs, 3, stride, 1), up

    def forward(self, x, _):
        return self.conv(double(x) if self.up else x)


def double(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")


def halve(x):
    return F.avg_pool2d(x, 2)


class UNet(nn.Module):
    def __init__(self, images, outputs, channels, blocks, mult, attended, width, updown):
        super().__init__()
        self.channels, e = channels, 4 * channels
        self.time = nn.Sequential(nn.Linear(channels, e), nn.SiLU(), nn.Linear(e, e))
        widths = [channels * m for m in mult]
        c, kept = widths[0], [widths[0]]
        down, up = [[Plain(images, c)]], []
        for level, w in enumerate(widths):
            for _ in range(blocks):
                stage = [Residual(c, w, e)]
                stage += [Attention(w, width)] if 2**level in attended else []
                down.append(stage)
                c = w
                kept.append(c)
            if level + 1 < len(widths):
                down.append([Residual(c, c, e, halve) if updown else Plain(c, c, 2)])
                kept.append(c)
        middle = [Residual(c, c, e), Attention(c, width), Residual(c, c, e)]
        for level, w in reversed(list(enumerate(widths))):
            for block in range(blocks + 1):
                stage = [Residual(c + kept.pop(), w, e)]
                c = w
                stage += [Attention(w, width)] if 2**level in attended else []
                if level and block == blocks:
                    stage.append(Residual(c, c, e, double) if updown else Plain(c, c, up=True))
                up.append(stage)
        lists = [nn.ModuleList(map(nn.ModuleList, stages)) for stages in (down, [middle], up)]
        self.down, self.middle, self.up = lists
        self.out_norm = nn.GroupNorm(32, c)
        self.out = nn.Conv2d(c, outputs, 3, padding=1)

    def forward(self, x, t, last=None):
        half = self.channels // 2
        f = torch.exp(-math.log(10000) * torch.arange(half) / half)
        angles = t[:, None].float() * f
        e = self.time(torch.cat([angles.cos(), angles.sin()], dim=1))
        skips, block = [], 0
        for stages, keep, join in ((self.down, 1, 0), (self.middle, 0, 0), (self.up, 0, 1)):
            for stage in stages:
                x = torch.cat([x, skips.pop()], dim=1) if join else x
                for layer in stage:
                    x = layer(x, e)
                if keep:
                    skips.append(x)
                block += 1
                if block == last:
                    return x
        return self.out(F.silu(self.out_norm(x)))


def small(images):
    return UNet(images, images, 32, 1, [1, 2, 2], [], 32, False)


def measure(name, run, repetitions, warm=3):
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        return
    run = run()
    for _ in range(warm):
        run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def forward(batch):
    model, x = small(3), torch.randn(batch, 3, 32, 32)
    t = torch.full((batch,), 500)

    def run():
        with torch.no_grad():
            model(x, t)

    return run


def ddim_step(batch):
    model, x = small(3), torch.randn(batch, 3, 32, 32)
    t = torch.full((batch,), 510)
    bars = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).float()
    bar, before = bars[510], bars[489]

    def run():
        with torch.no_grad():
            noise = model(x, t)
            start = ((x - (1 - bar).sqrt() * noise) / bar.sqrt()).clamp(-1, 1)
            noise = (x - bar.sqrt() * start) / (1 - bar).sqrt()
            before.sqrt() * start + (1 - before).sqrt() * noise

    return run


def step(batch):
    model, images = small(1), torch.randn(batch, 1, 16, 16)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    bars = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)

    def run():
        noise, t = torch.randn_like(images), torch.randint(1000, (batch,))
        bar = bars[t].view(-1, 1, 1, 1)
        x = bar.sqrt() * images + (1 - bar).sqrt() * noise
        optimiser.zero_grad()
        loss = F.mse_loss(model(x, t), noise)
        loss.backward()
        optimiser.step()
        loss.item()

    return run


def features_256():
    model = UNet(3, 6, 256, 2, [1, 1, 2, 2, 4, 4], [8, 16, 32], 64, True)
    x, t = torch.randn(1, 3, 256, 256), torch.tensor([90])

    def run():
        with torch.no_grad():
            model(x, t, last=24)

    return run


def main():
    for batch in (1, 16):
        measure(f"forward/{batch}", lambda: forward(batch), 30)
        measure(f"ddim_step/{batch}", lambda: ddim_step(batch), 30)
    measure("step/64", lambda: step(64), 10)
    measure("features_256", features_256, 3, warm=1)


if __name__ == "__main__":
    main()
