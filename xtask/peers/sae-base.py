"""Times sparse autoencoders and their host in PyTorch; one JSON object {"name", "seconds"} each."""

import json
import os
import statistics
import time

import torch
from torch.nn import functional as F

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
torch.manual_seed(0)
ROWS, WIDTH, LATENTS, K = 4096, 768, 24576, 32


def measure(name, run, samples):
    run()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": statistics.median(times)}), flush=True)


class TopK(torch.nn.Module):
    def __init__(self):
        super().__init__()
        rows = F.normalize(torch.randn(LATENTS, WIDTH), dim=1)
        self.decoder = torch.nn.Parameter(rows.clone())
        self.encoder = torch.nn.Parameter(rows.clone())
        self.b_enc = torch.nn.Parameter(torch.zeros(LATENTS))
        self.b_dec = torch.nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x):
        h = ((x - self.b_dec) @ self.encoder.T + self.b_enc).relu()
        values, indices = h.topk(K, dim=1)
        z = torch.zeros_like(h).scatter(1, indices, values)
        return z @ self.decoder + self.b_dec, z


def topk():
    model, x = TopK(), torch.randn(ROWS, WIDTH)
    with torch.no_grad():
        measure("forward", lambda: model(x), 5)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)
    silent = torch.zeros(LATENTS, dtype=torch.long)

    def step():
        y, z = model(x)
        loss = ((y - x) ** 2).sum(1).mean()
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            silent.add_(ROWS).masked_fill_((z > 0).any(0), 0)
            grad = model.decoder.grad
            grad -= (grad * model.decoder).sum(1, keepdim=True) * model.decoder
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            model.decoder /= model.decoder.norm(dim=1, keepdim=True)
        return loss.item()

    measure("step", step, 3)


def jump_relu():
    width, latents = 2304, 16384
    rows = 0.1 * F.normalize(torch.randn(latents, width), dim=1)
    encoder, decoder = rows.T.contiguous(), rows.clone()
    b_enc, b_dec, theta = torch.zeros(latents), torch.zeros(width), torch.full((latents,), 1e-3)
    x = torch.randn(ROWS, width)

    def forward():
        h = x @ encoder + b_enc
        return (h * (h > theta)) @ decoder + b_dec

    measure("forward_jump_relu", forward, 5)


def decode():
    decoder = torch.randn(LATENTS, WIDTH)
    h = torch.randn(ROWS, LATENTS)
    indices = h.topk(K, dim=1).indices
    values = torch.ones(ROWS, K)
    # The kernel of the ecosystem for this: a sum of weighted embeddings.
    measure(
        "decode_by_gathering",
        lambda: F.embedding_bag(indices, decoder, per_sample_weights=values, mode="sum"),
        10,
    )
    measure("decode_densely", lambda: h @ decoder, 5)
    measure("batch_topk", lambda: h.flatten().topk(K * ROWS), 5)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(768), torch.nn.LayerNorm(768)
        self.c_attn, self.c_proj = torch.nn.Linear(768, 2304), torch.nn.Linear(768, 768)
        self.c_fc, self.mlp_proj = torch.nn.Linear(768, 3072), torch.nn.Linear(3072, 768)

    def forward(self, x):
        batch, length, _ = x.shape
        heads = self.c_attn(self.ln_1(x)).view(batch, length, 3, 12, 64).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.c_proj(z.transpose(1, 2).reshape(batch, length, 768))
        hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")
        return x + self.mlp_proj(hidden)


def collect():
    wte, wpe = torch.nn.Embedding(50257, 768), torch.nn.Embedding(1024, 768)
    blocks = torch.nn.ModuleList(Block() for _ in range(12))
    ln_f = torch.nn.LayerNorm(768)
    for module in (wte, wpe, blocks, ln_f):
        module.requires_grad_(False)
    tokens = (torch.arange(4 * 128) * 97 % 50257).view(4, 128)

    def read():
        x = wte(tokens) + wpe(torch.arange(128))
        for block in blocks[:8]:
            x = block(x)
        return x

    def with_gradients():
        with torch.no_grad():
            x = read()
        x.requires_grad_()
        y = x
        for block in blocks[8:]:
            y = block(y)
        logits = ln_f(y) @ wte.weight.T
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum")
        return torch.autograd.grad(loss, x)

    with torch.no_grad():
        measure("collect_activations", read, 5)
    measure("collect_with_gradients", with_gradients, 3)


topk()
jump_relu()
with torch.no_grad():
    decode()
collect()
