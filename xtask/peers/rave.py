"""The benches of rave in PyTorch: V1 at 48 kHz, blocks of 2048 samples, and training steps.

Prints one JSON line per measurement, {"name", "seconds"}: the median of the repetitions. The
number of threads is that of OMP_NUM_THREADS. Weight normalisation is folded where nothing is
trained. A stream keeps the end of each layer's input, as ours does.
"""

import json
import os
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import weight_norm

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)
SCALES = (2048, 1024, 512, 256, 128)


class Conv(nn.Module):
    """A convolution with the activation before it, on a whole signal or in blocks."""

    def __init__(self, cin, cout, kernel, stride=1, dilation=1, groups=1, act=True, norm=False,
                 bias=True):
        super().__init__()
        conv = nn.Conv1d(cin, cout, kernel, stride, 0, dilation, groups, bias=bias)
        self.conv = weight_norm(conv) if norm else conv
        span = (kernel - 1) * dilation + 1
        self.pads = ((span - 1) // 2, span // 2) if kernel > 1 else (0, 0)
        self.act, self.cache, self.stride = act, None, stride

    def forward(self, x):
        if self.act:
            x = F.leaky_relu(x, 0.2)
        return self.conv(F.pad(x, self.pads))

    def push(self, x):
        keep = sum(self.pads)
        if self.act:
            x = F.leaky_relu(x, 0.2)
        if keep:
            if self.cache is None:
                self.cache = x.new_zeros(x.shape[0], x.shape[1], keep)
            x = torch.cat([self.cache, x], -1)
            self.cache = x[..., -keep:]
        return self.conv(x)


class Up(nn.Module):
    def __init__(self, cin, cout, ratio, norm=True, bias=False):
        super().__init__()
        conv = nn.ConvTranspose1d(cin, cout, 2 * ratio, ratio, 0, bias=bias)
        self.conv = weight_norm(conv) if norm else conv
        self.ratio, self.cache = ratio, None

    def full(self, x):
        return self.conv(F.leaky_relu(x, 0.2))

    def forward(self, x):
        half = self.ratio // 2
        return self.full(x)[..., half:-half]

    def push(self, x):
        y = self.full(x)
        if self.cache is not None:
            y[..., : self.ratio] += self.cache
        self.cache = y[..., -self.ratio:].clone()
        return y[..., : -self.ratio]


class Residual(nn.Module):
    def __init__(self, width, dilations, kernels, norm=True):
        super().__init__()
        self.convs = nn.ModuleList(
            Conv(width, width, k, dilation=d, norm=norm, bias=False)
            for k, d in zip(kernels, dilations)
        )
        self.wait, self.cache = sum(conv.pads[1] for conv in self.convs), None

    def forward(self, x):
        y = x
        for conv in self.convs:
            y = conv(y)
        return x + y

    def push(self, x):
        y = x
        for conv in self.convs:
            y = conv.push(y)
        if self.cache is None:
            self.cache = x.new_zeros(x.shape[0], x.shape[1], self.wait)
        x = torch.cat([self.cache, x], -1)
        self.cache = x[..., -self.wait:]
        return x[..., : -self.wait] + y


class Rave(nn.Module):
    def __init__(self, version, bands, ratios, capacity, latent, norm):
        super().__init__()
        self.bands, self.v1 = bands, version == 1
        v1, stages = self.v1, []
        dilations = [[1, 3, 9]] * len(ratios)
        if not v1:
            dilations = [[1, 3, 9]] * (len(ratios) - 1) + [[1, 3]]
        width = capacity
        layers = [Conv(bands, width, 7, act=False, norm=norm and not v1, bias=v1)]
        for ratio, dils in zip(ratios, dilations):
            if v1:
                layers.append(nn.BatchNorm1d(width))
            else:
                layers += [Residual(width, (d, 1), (3, 1), norm) for d in dils]
            kernel = 2 * ratio + 1 if v1 else 2 * ratio
            layers.append(Conv(width, 2 * width, kernel, ratio, norm=norm and not v1, bias=v1))
            width *= 2
        if v1:
            layers.append(Conv(width, 2 * latent, 5, groups=2))
        else:
            layers.append(Conv(width, 2 * latent, 3, norm=norm, bias=False))
        self.encoder = nn.ModuleList(layers)
        layers = [Conv(latent, width, 7 if v1 else 3, act=False, norm=norm, bias=v1)]
        stages = list(zip(ratios, dilations))
        for ratio, dils in stages if v1 else stages[::-1]:
            layers.append(Up(width, width // 2, ratio, norm))
            width //= 2
            kernels = (3, 3) if v1 else (3, 1)
            layers += [Residual(width, (d, 1), kernels, norm) for d in dils]
        self.decoder = nn.ModuleList(layers)
        outputs = bands if v1 else 2 * bands
        self.waveform = Conv(width, outputs, 7, act=not v1, norm=norm, bias=v1)
        self.loudness = Conv(width, 1, 3, act=False, norm=norm) if v1 else None
        self.register_buffer("analysis", torch.randn(bands, 1, 32 * bands + 1) * 0.01)
        self.register_buffer("synthesis", torch.randn(bands, bands, 33) * 0.01)
        self.audio = self.frames = None

    def signs(self, x):
        signs = torch.ones(1, self.bands, x.shape[-1])
        signs[:, 1::2, ::2] = -1
        return x * signs

    def analyse(self, x):
        y = F.conv1d(x, self.analysis, stride=self.bands, padding=16 * self.bands)
        return self.signs(y[..., : x.shape[-1] // self.bands])

    def weave(self, y):
        return y.flip(1).permute(0, 2, 1).reshape(y.shape[0], 1, -1) * self.bands

    def synthesise(self, x):
        return self.weave(F.conv1d(self.signs(x), self.synthesis, padding=16))

    def encode(self, x):
        for layer in self.encoder:
            x = layer(x)
        return x.chunk(2, 1)

    def mix(self, waveform, loudness):
        if self.v1:
            return torch.tanh(waveform) * (2 * torch.sigmoid(loudness) ** 2.3 + 1e-7)
        x, gate = waveform.chunk(2, 1)
        return torch.tanh(x * torch.sigmoid(gate))

    def decode(self, z):
        for layer in self.decoder:
            z = layer(z)
        return self.mix(self.waveform(z), self.loudness(z) if self.v1 else None)

    def push(self, block, encode=True):
        """A block of audio, or a latent frame, to a block of audio."""
        x = block
        if encode:
            keep = 32 * self.bands
            if self.audio is None:
                self.audio = x.new_zeros(1, 1, keep)
            x = torch.cat([self.audio, x], -1)
            self.audio = x[..., -keep:]
            x = self.signs(F.conv1d(x, self.analysis, stride=self.bands)[..., : block.shape[-1] // self.bands])
            for layer in self.encoder:
                x = layer.push(x) if hasattr(layer, "push") else layer(x)
            x = x.chunk(2, 1)[0]
        for layer in self.decoder:
            x = layer.push(x)
        y = self.signs(self.mix(self.waveform.push(x), self.loudness.push(x)))
        if self.frames is None:
            self.frames = y.new_zeros(1, self.bands, 32)
        y = torch.cat([self.frames, y], -1)
        self.frames = y[..., -32:]
        return self.weave(F.conv1d(y, self.synthesis))


def spectrum(x, size, hop):
    window = torch.hann_window(size)
    x = x.reshape(-1, x.shape[-1])
    return torch.stft(x, size, hop, size, window, center=True, return_complex=True).abs()


def distance(x, y, scales):
    total = 0
    for size in scales:
        a, b = (spectrum(s, size, size // 4) / size**0.5 for s in (x, y))
        total = total + (a - b).norm() / a.norm()
        total = total + ((a + 1e-7).log() - (b + 1e-7).log()).abs().mean()
    return total


def measure(name, run, repetitions):
    run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    seconds = sorted(times)[len(times) // 2]
    print(json.dumps({"name": name, "seconds": seconds}), flush=True)


def step(name, model, batch, time_, scales, repetitions):
    x = torch.rand(batch, 1, time_) - 0.5
    optimiser = torch.optim.Adam(model.parameters(), 1e-4, (0.5, 0.9))

    def run():
        subbands = model.analyse(x)
        mean, scale = model.encode(subbands)
        std = F.softplus(scale) + 1e-4
        kl = (mean**2 + std**2 - (std**2).log() - 1).sum(1).mean()
        y = model.decode(mean + std * torch.randn_like(std))
        a, b = model.synthesise(subbands), model.synthesise(y)
        loud = [(spectrum(s, 2048, 512) + 1e-7).log().mean(1) for s in (a, b)]
        loss = distance(subbands, y, scales) + distance(a, b, scales)
        loss = loss + ((loud[0] - loud[1]) ** 2).mean() + 0.1 * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()

    measure(name, run, repetitions)


def main():
    ratios = (4, 4, 4, 2)
    with torch.no_grad():
        model = Rave(1, 16, ratios, 64, 128, norm=False).eval()
        later = Rave(2, 16, ratios, 96, 128, norm=False).eval()
        z, x = torch.randn(1, 128, 24), torch.rand(1, 1, 24 * 2048) - 0.5
        measure("decode_1s", lambda: model.synthesise(model.decode(z)), 20)
        measure("decode_v2_1s", lambda: later.synthesise(later.decode(z)), 20)
        measure("encode_1s", lambda: model.encode(model.analyse(x)), 20)
        measure("filter_bank_1s", lambda: model.synthesise(model.analyse(x)), 20)
        block = x[..., :2048]
        measure("stream_2048", lambda: model.push(block), 100)
        decoder = Rave(1, 16, ratios, 64, 128, norm=False).eval()
        measure("stream_decode_2048", lambda: decoder.push(z[..., :1], encode=False), 100)
    step("step_8", Rave(1, 16, ratios, 64, 128, norm=True), 8, 65536, SCALES, 2)
    small = Rave(1, 8, (4, 2, 2), 16, 16, norm=True)
    step("step_small", small, 8, 8192, (1024, 512, 256, 128, 64), 20)


main()
