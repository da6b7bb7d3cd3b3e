"""The passes of `models/efficient/benches/efficient/convit.rs` in PyTorch.

Gated positional self-attention as the official code computes it: two softmaxes over all pairs of
patches, blended and divided by their sums. "_kept" keeps the positional softmax between passes.
"""

import json
import os
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)


class Gpsa(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qk, self.v = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.pos_proj, self.proj = nn.Linear(3, heads), nn.Linear(dim, dim)
        self.gate = nn.Parameter(torch.ones(heads))
        self.kept = None

    def positions(self, relative):
        return self.pos_proj(relative).permute(2, 0, 1).softmax(-1)

    def forward(self, x, relative):
        b, n, d = x.shape
        q, k = self.qk(x).reshape(b, n, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        content = ((q @ k.transpose(-2, -1)) * self.scale).softmax(-1)
        positions = self.kept if self.kept is not None else self.positions(relative)
        gate = torch.sigmoid(self.gate).view(1, -1, 1, 1)
        attention = (1 - gate) * content + gate * positions
        attention = attention / attention.sum(-1, keepdim=True)
        v = self.v(x).reshape(b, n, self.heads, d // self.heads).transpose(1, 2)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, d))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x, _):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden, local):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = (Gpsa if local else Attention)(dim, heads)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x, relative):
        x = x + self.attn(self.norm1(x), relative)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ConVit(nn.Module):
    def __init__(self, side, patch, dim, depth, heads, local, classes=1000, ratio=4, channels=3):
        super().__init__()
        self.side, self.local, self.channels, self.classes = side, local, channels, classes
        grid = side // patch
        self.embed = nn.Conv2d(channels, dim, patch, patch)
        self.pos = nn.Parameter(torch.randn(1, grid * grid, dim) * 0.02)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.blocks = nn.ModuleList(
            Block(dim, heads, dim * ratio, index < local) for index in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, classes)
        at = torch.arange(grid)
        y, x = (part.flatten() for part in torch.meshgrid(at, at, indexing="ij"))
        dx, dy = x[None] - x[:, None], y[None] - y[:, None]
        self.register_buffer("relative", torch.stack([dx, dy, dx**2 + dy**2], -1).float())

    def keep(self):
        with torch.no_grad():
            for block in self.blocks[: self.local]:
                block.attn.kept = block.attn.positions(self.relative)
        return self

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos
        for index, block in enumerate(self.blocks):
            if index == self.local:
                x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
            x = block(x, self.relative)
        return self.head(self.norm(x)[:, 0])


def measure(name, run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def forward(name, model, batch, repetitions):
    x = torch.randn(batch, model.channels, model.side, model.side)
    with torch.no_grad():
        measure(name, lambda: model(x), repetitions)


def step(name, model, batch, repetitions):
    x = torch.randn(batch, model.channels, model.side, model.side)
    target = F.one_hot(torch.arange(batch) % model.classes, model.classes) * 0.9
    target = target + 0.1 / model.classes
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-4)

    def run():
        loss = F.cross_entropy(model(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()

    measure(name, run, repetitions)


def main():
    tiny = lambda: ConVit(224, 16, 192, 12, 4, 10)
    small = lambda: ConVit(224, 16, 432, 12, 9, 10)
    forward("tiny_1", tiny(), 1, 20)
    forward("tiny_8", tiny(), 8, 10)
    forward("tiny_16", tiny(), 16, 5)
    forward("tiny_1_kept", tiny().keep(), 1, 20)
    forward("tiny_8_kept", tiny().keep(), 8, 10)
    forward("tiny_16_kept", tiny().keep(), 16, 5)
    forward("small_1", small(), 1, 10)
    forward("small_16", small(), 16, 3)
    forward("small_1_kept", small().keep(), 1, 10)
    forward("small_16_kept", small().keep(), 16, 3)
    step("tiny_step_8", tiny(), 8, 5)
    step("step_small", ConVit(28, 4, 48, 6, 4, 5, 10, 2, 1), 32, 20)


main()
