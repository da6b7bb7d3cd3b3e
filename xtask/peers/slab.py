"""The passes of `models/efficient/benches/efficient/slab.rs` in PyTorch.

"norm" networks have layer normalisation, "folded" ones nothing in its place. Linear attention is the
official code's, with its einsums; softmax attention is PyTorch's fused one.
"""

import json
import os
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)


class Linear(nn.Module):
    def __init__(self, dim, heads, side):
        super().__init__()
        self.heads, self.side = heads, side
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        size = dim // heads
        self.dwc = nn.Conv2d(size, size, 5, padding=2, groups=size)
        self.positions = nn.Parameter(torch.zeros(1, side * side, dim))

    def forward(self, x):
        b, n, c = x.shape
        h, d = self.heads, c // self.heads
        q, k, v = self.qkv(x).chunk(3, 2)
        q, k = F.relu(q), F.relu(k + self.positions)
        q, k, v = (t.reshape(b, n, h, d).transpose(1, 2).reshape(b * h, n, d) for t in (q, k, v))
        z = 1 / (torch.einsum("bic,bc->bi", q, k.sum(1)) + 1e-6)
        if n > d:
            kv = torch.einsum("bjc,bjd->bcd", k, v)
            y = torch.einsum("bic,bcd,bi->bid", q, kv, z)
        else:
            y = torch.einsum("bij,bjd,bi->bid", torch.einsum("bic,bjc->bij", q, k), v, z)
        picture = v.transpose(1, 2).reshape(b * h, d, self.side, self.side)
        y = y + self.dwc(picture).flatten(2).transpose(1, 2)
        return self.proj(y.reshape(b, h, n, d).transpose(1, 2).reshape(b, n, c))


class Softmax(nn.Module):
    def __init__(self, dim, heads, _):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class Window(nn.Module):
    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"))
        at = at.flatten(1)
        rel = (at[:, :, None] - at[:, None]) + window - 1
        self.register_buffer("index", rel[0] * (2 * window - 1) + rel[1])

    def forward(self, x, mask=None):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)
        scores = scores + self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1)
        if mask is not None:
            w = mask.shape[0]
            scores = (scores.view(b // w, w, self.heads, n, n) + mask[:, None]).view(-1, self.heads, n, n)
        y = scores.softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, dim, attn, norm, ratio=4, place=None):
        super().__init__()
        make = (lambda: nn.LayerNorm(dim, eps=1e-6)) if norm == "layer" else norm
        self.norm1, self.norm2 = make(), make()
        self.attn, self.place = attn, place
        self.fc1, self.fc2 = nn.Linear(dim, dim * ratio), nn.Linear(dim * ratio, dim)
        self.mask = None
        if place is not None and place[2] > 0:
            side, window, shift = place
            regions, count = torch.zeros(1, side, side, 1), 0
            spans = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
            for rows in spans:
                for columns in spans:
                    regions[:, rows, columns] = count
                    count += 1
            parts = self.partition(regions).squeeze(-1)
            self.mask = torch.where(parts[:, None] != parts[:, :, None], -100.0, 0.0)

    def partition(self, x):
        side, window, _ = self.place
        b, _, _, c = x.shape
        x = x.view(b, side // window, window, side // window, window, c)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, c)

    def mix(self, x):
        if self.place is None:
            return self.attn(x)
        side, window, shift = self.place
        b, n, c = x.shape
        x = x.view(b, side, side, c)
        if shift:
            x = torch.roll(x, (-shift, -shift), (1, 2))
        parts = self.partition(x)
        parts = self.attn(parts, self.mask) if isinstance(self.attn, Window) else self.attn(parts)
        count = side // window
        x = parts.view(b, count, count, window, window, c).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(b, side, side, c)
        if shift:
            x = torch.roll(x, (shift, shift), (1, 2))
        return x.reshape(b, n, c)

    def forward(self, x):
        x = x + self.mix(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Deit(nn.Module):
    def __init__(
        self, side, patch, dim, depth, heads, attention, norm, classes=1000, channels=3, ratio=4
    ):
        super().__init__()
        grid = side // patch
        self.embed = nn.Conv2d(channels, dim, patch, patch)
        self.pos = nn.Parameter(torch.randn(1, grid * grid, dim) * 0.02)
        blocks = (Block(dim, attention(dim, heads, grid), norm, ratio) for _ in range(depth))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim) if norm == "layer" else norm()
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.norm(self.blocks(x)).mean(1))


class Merging(nn.Module):
    def __init__(self, dim, side, folded):
        super().__init__()
        self.side = side
        self.norm = nn.Identity() if folded else nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=folded)

    def forward(self, x):
        b, _, c = x.shape
        x = x.view(b, self.side, self.side, c)
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, -1).view(b, -1, 4 * c)))


class Swin(nn.Module):
    def __init__(self, folded):
        super().__init__()
        norm = nn.Identity if folded else "layer"
        self.embed = nn.Conv2d(3, 96, 4, 4)
        self.first = nn.Identity() if folded else nn.LayerNorm(96)
        layers, side = [], 56
        for stage, (depth, heads) in enumerate(zip((2, 2, 6, 2), (3, 6, 12, 24))):
            dim = 96 << stage
            for index in range(depth):
                window = side if stage < 2 else 7
                shift = 3 if stage >= 2 and index % 2 and side > 7 else 0
                attention = (Linear if stage < 2 else Window)(dim, heads, window)
                layers.append(Block(dim, attention, norm, place=(side, window, shift)))
            if stage < 3:
                layers.append(Merging(dim, side, folded))
                side //= 2
        self.layers = nn.Sequential(*layers)
        self.norm = nn.Identity() if folded else nn.LayerNorm(768)
        self.head = nn.Linear(768, 1000)

    def forward(self, x):
        x = self.first(self.embed(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(self.layers(x)).mean(1))


class RepBn(nn.Module):
    """The progressive norm in the middle of its blend."""

    def __init__(self, dim):
        super().__init__()
        self.layer, self.bn = nn.LayerNorm(dim, eps=1e-6), nn.BatchNorm1d(dim)
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x):
        b, n, c = x.shape
        new = self.bn(x.reshape(b * n, c)).view(b, n, c) + self.alpha * x
        return 0.5 * self.layer(x) + 0.5 * new


def measure(name, run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def forward(name, model, x, repetitions):
    model.eval()
    with torch.no_grad():
        measure(name, lambda: model(x), repetitions)


def main():
    for batch, repetitions in ((1, 20), (8, 10), (16, 5)):
        x = torch.randn(batch, 3, 224, 224)
        for kind, attention in (("deit", Softmax), ("slab", Linear)):
            for name, norm in (("norm", "layer"), ("folded", nn.Identity)):
                model = Deit(224, 16, 192, 12, 3, attention, norm)
                forward(f"{kind}_{name}_{batch}", model, x, repetitions)
    for batch, repetitions in ((1, 5), (16, 3)):
        x = torch.randn(batch, 3, 224, 224)
        forward(f"swin_norm_{batch}", Swin(False), x, repetitions)
        forward(f"swin_folded_{batch}", Swin(True), x, repetitions)
    for side, repetitions in ((14, 20), (28, 10), (56, 5)):
        x = torch.randn(1, side * side, 192)
        forward(f"linear_{side * side}", Linear(192, 3, side), x, repetitions)
        forward(f"softmax_{side * side}", Softmax(192, 3, side), x, repetitions)
    model = Deit(28, 4, 48, 6, 4, Linear, lambda: RepBn(48), 10, 1, 2).train()
    x, target = torch.randn(32, 1, 28, 28), torch.arange(32) % 10
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)

    def run():
        loss = F.cross_entropy(model(x), target, label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()

    measure("step_small", run, 10)


main()
