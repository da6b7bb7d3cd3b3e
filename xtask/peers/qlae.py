"""Times QLAE's shapes in PyTorch; prints one JSON object {"name", "seconds"} per measurement."""

import json
import os
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
torch.manual_seed(0)


class Encoder(nn.Module):
    def __init__(self, channels, side, convs, dense, latents):
        super().__init__()
        layers = []
        for width, kernel, stride in convs:
            layers += [
                nn.Conv2d(channels, width, kernel, stride, 1, bias=False),
                nn.GroupNorm(width, width, eps=1e-6),
                nn.LeakyReLU(0.2),
            ]
            channels, side = width, (side + 2 - kernel) // stride + 1
        layers.append(nn.Flatten())
        width = channels * side * side
        for out in dense:
            layers += [nn.Linear(width, out), nn.ReLU()]
            width = out
        self.layers = nn.Sequential(*layers, nn.Linear(width, latents))
        self.side = side

    def forward(self, x):
        return self.layers(x)


class Style(nn.Module):
    def __init__(self, channels, width, kernel, stride, style):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, width, kernel, stride, 1, bias=False)
        self.conditioning = nn.Linear(style, 2 * width)

    def forward(self, x, w):
        scale, bias = F.relu(self.conditioning(w))[:, :, None, None].chunk(2, dim=1)
        x = F.instance_norm(F.leaky_relu(self.up(x), 0.2), eps=1e-6)
        return x * scale + bias


class StyleDecoder(nn.Module):
    def __init__(self, latents, dense, channels, side, convs, image):
        super().__init__()
        self.input_map = nn.Parameter(torch.full((channels, side, side), 0.1))
        layers, width = [], latents
        for out in dense:
            layers += [nn.Linear(width, out), nn.ReLU()]
            width = out
        self.dense, blocks = nn.Sequential(*layers), []
        for out, kernel, stride in convs:
            blocks.append(Style(channels, out, kernel, stride, width))
            channels = out
        self.blocks = nn.ModuleList(blocks)
        self.conv = nn.Conv2d(channels, image, 3, padding=1, bias=False)

    def forward(self, z):
        w = self.dense(z)
        x = self.input_map.expand(z.shape[0], -1, -1, -1)
        for block in self.blocks:
            x = block(x, w)
        return self.conv(x)


class DenseDecoder(nn.Module):
    def __init__(self, latents, dense, image):
        super().__init__()
        layers, width = [], latents
        for out in dense:
            layers += [nn.Linear(width, out), nn.ReLU()]
            width = out
        self.layers = nn.Sequential(*layers, nn.Linear(width, image[0] * image[1] * image[2]))
        self.image = image

    def forward(self, z):
        return self.layers(z).unflatten(1, self.image)


class Quantizer(nn.Module):
    def __init__(self, latents, values):
        super().__init__()
        self.values = nn.Parameter(torch.linspace(-0.5, 0.5, values).repeat(latents, 1))

    def forward(self, z):
        index = (z.detach()[:, :, None] - self.values.detach()).abs().argmin(2)
        q = self.values.gather(1, index.T).T
        return index, q, z + (q - z).detach()


class Qlae(nn.Module):
    def __init__(self, encoder, quantizer, decoder):
        super().__init__()
        self.encoder, self.latent, self.decoder = encoder, quantizer, decoder

    def forward(self, x):
        z = self.encoder(x)
        index, q, estimate = self.latent(z)
        return z, q, self.decoder(estimate)

    def loss(self, x):
        z, q, logits = self(x)
        loss = F.binary_cross_entropy_with_logits(logits, x)
        return loss + 0.01 * F.mse_loss(q, z.detach()) + 0.01 * F.mse_loss(z, q.detach())


def published():
    pattern = [(3, 1), (3, 1), (4, 2)]
    down = [(width, *layer) for width in (32, 64, 128, 256) for layer in pattern]
    up = [(width, *layer) for width in (256, 128, 64, 32) for layer in pattern]
    encoder = Encoder(3, 64, down, [256, 256], 12)
    decoder = StyleDecoder(12, [256, 256], 256, encoder.side, up, 3)
    return Qlae(encoder, Quantizer(12, 10), decoder), torch.rand(128, 3, 64, 64)


def small_conv():
    encoder = Encoder(1, 16, [(width, 4, 2) for width in (16, 32, 64)], [128, 128], 10)
    up = [(width, 4, 2) for width in (64, 32, 16)]
    decoder = StyleDecoder(10, [128, 128], 64, encoder.side, up, 1)
    return Qlae(encoder, Quantizer(10, 8), decoder), torch.rand(64, 1, 16, 16)


def small_mlp():
    encoder = Encoder(1, 16, [], [128, 128], 10)
    decoder = DenseDecoder(10, [128, 128], (1, 16, 16))
    return Qlae(encoder, Quantizer(10, 8), decoder), torch.rand(64, 1, 16, 16)


def report(name, run, samples, warm=2):
    for _ in range(warm):
        run()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": statistics.median(times)}), flush=True)


def forward(model, x):
    with torch.no_grad():
        model(x)


def step(model, x):
    free = [p for n, p in model.named_parameters() if n.endswith("bias") or "latent" in n]
    names = {id(p) for p in free}
    bound = [p for p in model.parameters() if id(p) not in names]
    decayed = torch.optim.AdamW(bound, lr=1e-3, weight_decay=0.1)
    plain = torch.optim.Adam(free, lr=1e-3)

    def run():
        decayed.zero_grad()
        plain.zero_grad()
        loss = model.loss(x)
        loss.backward()
        torch.nn.utils.clip_grad_value_(bound, 1.0)
        decayed.step()
        plain.step()
        return loss.item()

    return run


def main(only):
    def wanted(name):
        return not only or name in only

    for suffix, make, samples in (("", published, 5), ("_mlp", small_mlp, 300), ("_conv", small_conv, 100)):
        if wanted("forward" + suffix) and suffix != "_conv":
            model, x = make()
            report("forward" + suffix, lambda: forward(model, x), samples, warm=1)
        if wanted("step" + suffix):
            report("step" + suffix, step(*make()), samples, warm=1)
    if wanted("quantize"):
        quantizer, z = Quantizer(12, 10), torch.rand(128, 12) - 0.5
        with torch.no_grad():
            report("quantize", lambda: quantizer(z), 500)


if __name__ == "__main__":
    main(sys.argv[1:])
