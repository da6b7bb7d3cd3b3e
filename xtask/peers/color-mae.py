"""The benches of color-mae in PyTorch: masks from colored noise and a step of ViT-B/16 with them.

Prints one JSON line per measurement, {"name", "seconds"}: the median of the repetitions. The
number of threads is that of OMP_NUM_THREADS.
"""

import json
import os
import random
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)
GRID, RATIO = 14, 0.75


def gaussian(x, sigma):
    radius = int(4 * sigma + 0.5)
    taps = torch.exp(-torch.arange(-radius, radius + 1.0) ** 2 / (2 * sigma * sigma))
    taps = taps / taps.sum()
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), mode="circular"), taps.view(1, 1, 1, -1))
    return F.conv2d(F.pad(x, (0, 0, radius, radius), mode="circular"), taps.view(1, 1, -1, 1))


def noise_bank(slices=512, size=64):
    white = torch.randn(slices, 1, size, size)
    green = (gaussian(white, 0.5) - gaussian(white, 2.0))[:, 0]
    low, high = green.amin((1, 2), keepdim=True), green.amax((1, 2), keepdim=True)
    return (green - low) / (high - low)


def masking(noise, descending):
    batch, tokens = noise.shape
    shuffle = torch.argsort(noise, dim=1, descending=descending)
    restore = torch.argsort(shuffle, dim=1)
    kept = int(tokens * (1 - RATIO))
    mask = torch.ones(batch, tokens)
    mask[:, :kept] = 0
    return shuffle[:, :kept], restore, torch.gather(mask, 1, restore)


def cut(tiles):
    top, left = (random.randint(0, tiles.shape[1] - GRID) for _ in range(2))
    window = tiles[:, top : top + GRID, left : left + GRID]
    if random.random() < 0.5:
        window = window.flip(2)
    if random.random() < 0.5:
        window = window.flip(1)
    return window / window.amax((1, 2), keepdim=True)


def green(bank, batch):
    slices = len(bank)
    groups = [cut(bank) for _ in range(batch // slices)]
    if batch % slices:
        groups.append(cut(bank)[: batch % slices])
    return masking(torch.cat(groups).flatten(1), True)


def green_per_image(bank, batch):
    rows = torch.randint(bank.shape[1] - GRID + 1, (batch, 1, 1)) + torch.arange(GRID).view(1, -1, 1)
    columns = torch.randint(bank.shape[2] - GRID + 1, (batch, 1, 1)) + torch.arange(GRID)
    rows = torch.where(torch.rand(batch, 1, 1) < 0.5, rows.flip(1), rows)
    columns = torch.where(torch.rand(batch, 1, 1) < 0.5, columns.flip(2), columns)
    window = bank[torch.randint(len(bank), (batch, 1, 1)), rows, columns]
    return masking((window / window.amax((1, 2), keepdim=True)).flatten(1), True)


def white(batch):
    return masking(torch.rand(batch, GRID * GRID), False)


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(self.ln1(x)).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + self.proj(mixed)
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))


class ColorMae(nn.Module):
    def __init__(self, dim=768, depth=12, heads=12, width=512, layers=8, decoder_heads=16):
        super().__init__()
        tokens = GRID * GRID
        self.embed = nn.Conv2d(3, dim, 16, 16)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 1 + tokens, dim), requires_grad=False)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.decoder_embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.decoder_pos = nn.Parameter(torch.randn(1, 1 + tokens, width), requires_grad=False)
        self.decoder_blocks = nn.ModuleList(Block(width, decoder_heads) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.pred = nn.Linear(width, 16 * 16 * 3)

    def encode(self, x, keep=None):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        if keep is not None:
            x = torch.gather(x, 1, keep.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        cls = (self.cls + self.pos[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([cls, x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def loss(self, images, masks):
        keep, restore, mask = masks
        x = self.decoder_embed(self.encode(images, keep))
        filler = self.mask_token.expand(len(x), restore.shape[1] - keep.shape[1], -1)
        rest = torch.cat([x[:, 1:], filler], 1)
        rest = torch.gather(rest, 1, restore.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], rest], 1) + self.decoder_pos
        for block in self.decoder_blocks:
            x = block(x)
        pred = self.pred(self.decoder_norm(x))[:, 1:]
        target = images.reshape(len(images), 3, GRID, 16, GRID, 16)
        target = torch.einsum("nchpwq->nhwpqc", target).reshape(len(images), GRID * GRID, -1)
        mean, var = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        error = ((pred - (target - mean) / (var + 1e-6) ** 0.5) ** 2).mean(-1)
        return (error * mask).sum() / mask.sum()


def measure(name, run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def step(name, draw):
    model, x = ColorMae(), torch.randn(8, 3, 224, 224)
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    exempt = ("cls", "mask_token")
    groups = [
        {"params": [p for n, p in trained if p.ndim > 1 and n not in exempt], "weight_decay": 0.05},
        {"params": [p for n, p in trained if p.ndim == 1 or n in exempt], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95))

    def run():
        optimiser.zero_grad()
        loss = model.loss(x, draw())
        loss.backward()
        optimiser.step()
        loss.item()

    measure(name, run, 5)


def forward():
    model, x = ColorMae().eval(), torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        measure("forward_1", lambda: model.encode(x), 10)


def main():
    measure("noise_bank", noise_bank, 5)
    bank = noise_bank()
    measure("masks_green", lambda: green(bank, 512), 100)
    measure("masks_green_per_image", lambda: green_per_image(bank, 512), 100)
    measure("masks_random", lambda: white(512), 100)
    step("step_green", lambda: green(bank, 8))
    step("step_random", lambda: white(8))
    forward()


if __name__ == "__main__":
    main()
