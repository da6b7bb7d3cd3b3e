"""The benches of mae-base in PyTorch: ViT-B/16 at 224x224, and the small shape.

Prints one JSON line per measurement, {"name", "seconds"}: the median of the repetitions. The
number of threads is that of OMP_NUM_THREADS.
"""

import json
import os
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + self.proj(mixed)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Mae(nn.Module):
    def __init__(self, side, patch, dim, depth, heads, decoder, ratio):
        super().__init__()
        self.patch, self.grid, self.ratio = patch, side // patch, ratio
        tokens = self.grid**2
        width, layers, decoder_heads = decoder
        self.embed = nn.Conv2d(3, dim, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 1 + tokens, dim), requires_grad=False)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.decoder_embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.decoder_pos = nn.Parameter(torch.randn(1, 1 + tokens, width), requires_grad=False)
        self.decoder_blocks = nn.ModuleList(Block(width, decoder_heads) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.pred = nn.Linear(width, patch * patch * 3)

    def encode(self, x, keep=None):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        if keep is not None:
            x = torch.gather(x, 1, keep.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        cls = (self.cls + self.pos[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([cls, x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def patchify(self, x):
        p, g = self.patch, self.grid
        x = x.reshape(len(x), 3, g, p, g, p)
        return torch.einsum("nchpwq->nhwpqc", x).reshape(len(x), g * g, p * p * 3)

    def loss(self, images):
        tokens = self.grid**2
        noise = torch.rand(len(images), tokens)
        shuffle = torch.argsort(noise, 1)
        restore = torch.argsort(shuffle, 1)
        kept = int(tokens * (1 - self.ratio))
        mask = torch.ones(len(images), tokens)
        mask[:, :kept] = 0
        mask = torch.gather(mask, 1, restore)
        x = self.decoder_embed(self.encode(images, shuffle[:, :kept]))
        filler = self.mask_token.expand(len(x), tokens - kept, -1)
        rest = torch.cat([x[:, 1:], filler], 1)
        rest = torch.gather(rest, 1, restore.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], rest], 1) + self.decoder_pos
        for block in self.decoder_blocks:
            x = block(x)
        pred = self.pred(self.decoder_norm(x))[:, 1:]
        target = self.patchify(images)
        mean, var = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        target = (target - mean) / (var + 1e-6) ** 0.5
        error = ((pred - target) ** 2).mean(-1)
        return (error * mask).sum() / mask.sum()


def base(ratio):
    return Mae(224, 16, 768, 12, 12, (512, 8, 16), ratio)


def measure(name, run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def forward(name, batch, repetitions):
    model, x = base(0.75).eval(), torch.randn(batch, 3, 224, 224)

    def run():
        with torch.no_grad():
            model.encode(x)

    measure(name, run, repetitions)


def step(name, model, batch, repetitions):
    side = model.grid * model.patch
    x = torch.randn(batch, 3, side, side)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95))

    def run():
        optimiser.zero_grad()
        loss = model.loss(x)
        loss.backward()
        optimiser.step()
        loss.item()

    measure(name, run, repetitions)


def main():
    forward("forward_1", 1, 10)
    forward("forward_8", 8, 5)
    for name, ratio, repetitions in [
        ("step_75", 0.75, 5),
        ("step_50", 0.5, 5),
        ("step_90", 0.9, 5),
        ("step_0", 0.005, 3),
    ]:
        step(name, base(ratio), 8, repetitions)
    step("step_small", Mae(32, 4, 96, 4, 4, (48, 2, 4), 0.75), 128, 20)


if __name__ == "__main__":
    main()
