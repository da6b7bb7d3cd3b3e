"""The benches of videomae-v2 in PyTorch: ViT-B/16 on clips of 16 frames of 224x224, and the small
shape.

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
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(self.norm1(x), self.qkv.weight, bias)
        q, k, v = qkv.reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + self.proj(mixed)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class VideoMae(nn.Module):
    def __init__(self, frames, side, patch, encoder, decoder, dual):
        super().__init__()
        dim, depth, heads = encoder
        width, layers, decoder_heads = decoder
        self.frames, self.side, self.patch, self.dual = frames, side, patch, dual
        self.time, self.grid = frames // 2, side // patch
        self.tokens = self.time * self.grid**2
        self.embed = nn.Conv3d(3, dim, (2, patch, patch), (2, patch, patch))
        self.register_buffer("pos", torch.randn(1, self.tokens, dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.bridge = nn.Linear(dim, width, bias=False)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.register_buffer("decoder_pos", torch.randn(1, self.tokens, width))
        self.decoder_blocks = nn.ModuleList(Block(width, decoder_heads) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 6 * patch * patch)

    def features(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.norm(x.mean(1))

    def masks(self, batch):
        """Hidden from the encoder, left out by the decoder: [batch, tokens]."""
        places = self.grid**2
        order = torch.stack([torch.randperm(places) for _ in range(batch)])
        hidden = order >= places - int(0.9 * places)
        hidden = hidden[:, None].expand(batch, self.time, places).reshape(batch, -1)
        if not self.dual:
            return hidden, ~hidden
        t = torch.arange(self.time)[:, None, None]
        r = torch.arange(self.grid)[None, :, None]
        c = torch.arange(self.grid)[None, None, :]
        offset = torch.randint(4, (batch, 1, 1, 1))
        left_out = (2 * (r % 2) + c % 2 + t + offset + 1) % 4 < 2
        return hidden, left_out.reshape(batch, -1)

    def cubes(self, x):
        b, p, g = len(x), self.patch, self.grid
        x = x.reshape(b, 3, self.time, 2, g, p, g, p)
        return x.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(b, self.tokens, 2 * p * p, 3)

    def loss(self, x):
        b = len(x)
        hidden, left_out = self.masks(b)
        with torch.no_grad():
            target = self.cubes(x)
            std = target.var(-2, keepdim=True).sqrt()
            target = (target - target.mean(-2, keepdim=True)) / (std + 1e-6)
            target = target.flatten(2)[~left_out].reshape(b, -1, 6 * self.patch**2)
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.pos
        seen = tokens[~hidden].reshape(b, -1, tokens.shape[2])
        for block in self.blocks:
            seen = block(seen)
        seen = self.bridge(self.norm(seen))
        width = seen.shape[2]
        table = self.decoder_pos.expand(b, -1, -1)
        y = torch.cat(
            [
                seen + table[~hidden].reshape(b, -1, width),
                self.mask_token + table[~left_out].reshape(b, -1, width),
            ],
            1,
        )
        for block in self.decoder_blocks:
            y = block(y)
        y = self.head(self.decoder_norm(y[:, -target.shape[1] :]))
        counted = hidden[~left_out].reshape(b, -1)
        error = ((y - target) ** 2).mean(-1)
        return (error * counted).sum() / counted.sum()


def base(dual):
    return VideoMae(16, 224, 16, (768, 12, 12), (384, 4, 6), dual)


def measure(name, run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def features(name, repetitions):
    model, x = base(True).eval(), torch.randn(1, 3, 16, 224, 224)

    def run():
        with torch.no_grad():
            model.features(x)

    measure(name, run, repetitions)


def step(name, model, batch, repetitions):
    x = torch.randn(batch, 3, model.frames, model.side, model.side)
    trained = list(model.parameters())
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
    features("features_1", 3)
    step("step_0", base(False), 4, 2)
    step("step_50", base(True), 4, 2)
    step("step_small", VideoMae(8, 32, 4, (96, 4, 4), (48, 2, 4), True), 32, 20)


if __name__ == "__main__":
    main()
