"""The benches of dmae in PyTorch: ViT-L to ViT-B at 224x224, and the small shape.

Prints one JSON line per measurement, {"name", "seconds"}: the median of the repetitions. The
number of threads is that of OMP_NUM_THREADS. In a step the teacher runs as far as the aligned
block, as ours does; "whole_teacher_8" is what the released code runs.
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
    def __init__(self, side, patch, dim, depth, heads, decoder):
        super().__init__()
        self.patch, self.grid = patch, side // patch
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

    def encode(self, x, keep, wanted, stop=False):
        """The latent (None if it stops early) and the output of block `wanted`."""
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        x = torch.gather(x, 1, keep.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        cls = (self.cls + self.pos[:, :1]).expand(len(x), -1, -1)
        x, feature = torch.cat([cls, x], 1), None
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == wanted:
                feature = x
                if stop:
                    return None, feature
        return self.norm(x), feature

    def decode(self, latent, restore):
        x = self.decoder_embed(latent)
        hidden = restore.shape[1] + 1 - x.shape[1]
        rest = torch.cat([x[:, 1:], self.mask_token.expand(len(x), hidden, -1)], 1)
        rest = torch.gather(rest, 1, restore.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], rest], 1) + self.decoder_pos
        for block in self.decoder_blocks:
            x = block(x)
        return self.pred(self.decoder_norm(x))[:, 1:]

    def patchify(self, x):
        p, g = self.patch, self.grid
        x = x.reshape(len(x), 3, g, p, g, p)
        return torch.einsum("nchpwq->nhwpqc", x).reshape(len(x), g * g, p * p * 3)


def masking(batch, tokens, ratio=0.75):
    shuffle = torch.argsort(torch.rand(batch, tokens), 1)
    restore = torch.argsort(shuffle, 1)
    kept = int(tokens * (1 - ratio))
    mask = torch.ones(batch, tokens)
    mask[:, :kept] = 0
    return shuffle[:, :kept], restore, torch.gather(mask, 1, restore)


def measure(name, run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def step(name, student, teacher, blocks, batch, repetitions, ratio=0.75):
    head = nn.Linear(student.norm.weight.shape[0], teacher.norm.weight.shape[0])
    side, tokens = student.grid * student.patch, student.grid**2
    x = torch.randn(batch, 3, side, side)
    trained = [p for p in [*student.parameters(), *head.parameters()] if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95))

    def run():
        keep, restore, mask = masking(batch, tokens, ratio)
        with torch.no_grad():
            _, theirs = teacher.encode(x, keep, blocks[1], stop=True)
        latent, ours = student.encode(x, keep, blocks[0])
        error = ((student.decode(latent, restore) - student.patchify(x)) ** 2).mean(-1)
        distance = F.normalize(theirs, dim=-1) - F.normalize(head(ours), dim=-1)
        loss = (error * mask).sum() / mask.sum() + distance.abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()

    measure(name, run, repetitions)


def main():
    large = Mae(224, 16, 1024, 24, 16, (512, 8, 16)).eval()
    base = Mae(224, 16, 768, 12, 12, (512, 8, 16))
    step("step_8", base, large, (8, 17), 8, 3)
    step("step_8_95", base, large, (8, 17), 8, 3, 0.95)
    small, decoder = Mae(28, 4, 48, 4, 4, (64, 2, 4)), (64, 2, 4)
    step("step_small", small, Mae(28, 4, 128, 8, 4, decoder).eval(), (2, 5), 128, 20)
    x = torch.randn(8, 3, 224, 224)
    keep, restore, _ = masking(8, 196)
    with torch.no_grad():
        measure("teacher_8", lambda: large.encode(x, keep, 17, stop=True), 5)
        whole = lambda: large.decode(large.encode(x, keep, 17)[0], restore)
        measure("whole_teacher_8", whole, 5)


main()
