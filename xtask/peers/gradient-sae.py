"""Times TopK and gradient-TopK autoencoders in PyTorch; one JSON object {"name", "seconds"} each.

The dense form that users train today: all pre-activations, torch.topk, scatter, dense decoding.
"""

import json
import os
import statistics
import time

import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
torch.manual_seed(0)
ROWS, WIDTH, LATENTS, K = 1024, 512, 8192, 32


class TopK(torch.nn.Module):
    def __init__(self):
        super().__init__()
        rows = torch.nn.functional.normalize(torch.randn(LATENTS, WIDTH), dim=1)
        self.decoder = torch.nn.Parameter(rows.clone())
        self.encoder = torch.nn.Parameter(rows.clone())
        self.latent_bias = torch.nn.Parameter(torch.zeros(LATENTS))
        self.pre_bias = torch.nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x, g=None):
        h = (x - self.pre_bias) @ self.encoder.T + self.latent_bias
        if g is None:
            values, indices = h.topk(K, dim=1)
        else:
            with torch.no_grad():
                score = h * (1 + (g @ self.decoder.T).abs())
                indices = score.topk(K, dim=1).indices
            values = h.gather(1, indices)
        z = torch.zeros_like(h).scatter(1, indices, values.relu())
        return z @ self.decoder + self.pre_bias, z


def measure(name, run, samples):
    run()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": statistics.median(times)}), flush=True)


x, g = torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)
model = TopK()
with torch.no_grad():
    measure("forward", lambda: model(x), 10)
    measure("forward_by_gradient", lambda: model(x, g), 10)

adam = torch.optim.Adam(model.parameters(), lr=1e-4, eps=6.25e-10)
silent = torch.zeros(LATENTS, dtype=torch.long)


def step(g=None):
    y, z = model(x, g)
    loss = ((y - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    adam.zero_grad()
    loss.backward()
    with torch.no_grad():
        silent.add_(1).masked_fill_((z > 0).any(0), 0)
        model.decoder /= model.decoder.norm(dim=1, keepdim=True)
        grad = model.decoder.grad
        grad -= (grad * model.decoder).sum(1, keepdim=True) * model.decoder
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    return loss.item()


measure("step", step, 10)
measure("step_by_gradient", lambda: step(g), 10)
h = torch.randn(ROWS, LATENTS)
measure("topk_rows", lambda: h.topk(K, dim=1), 20)
measure("topk_of_all", lambda: h.flatten().topk(K * ROWS), 20)
