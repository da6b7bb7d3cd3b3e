"""The arms of the stacked-geo recipe in PyTorch, on the scenes that the recipe exported.

    python reference.py runs/stacked-geo/scene-*/scene.safetensors > reference.csv

Needs torch and numpy. Every arm is trained twice over: from the weights and in the orders of the
pixels that the recipe drew ("ours"), and from PyTorch's own draws ("own-0" and so on), which show how
far apart two runs of the same arm are. Training, k-means, majority filter and matching are written
anew here; nothing is shared with the recipe but the scene and the draws.

Prints a CSV: the scene's seed, the hash of its values, the arm, the draws, and the share of pixels, in
percent, whose cluster is matched with their unit, before and after the filter.
"""

import itertools
import json
import pathlib
import re
import struct
import sys

import numpy
import torch

OWN = 3
UNITS = 7
PENALTY, RATE, EPSILON = 1e-4, 1e-3, 1e-7
STAGES = {"canonical": (10, 64), "stack-1": (10, 64), "stack-2": (5, 32), "stack-3": (5, 16)}
torch.set_num_threads(1)


def read(path):
    """The tensors of a .safetensors file."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    kinds = {"F32": numpy.float32, "I32": numpy.int32}
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            start, end = (8 + length + at for at in entry["data_offsets"])
            values = numpy.frombuffer(data[start:end], kinds[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"]).copy()
    return tensors


def fingerprint(values):
    """FNV-1a by 32-bit words, as in reference.rs."""
    state = 0xCBF29CE484222325
    for word in values.reshape(-1).view(numpy.uint32).tolist():
        state = (state ^ word) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 29
    return f"{state:016x}"


class Autoencoder:
    """Layers with SELU, the last with a sigmoid; weights are [in, out]."""

    def __init__(self, layers, encoder):
        self.parameters = [p.clone().requires_grad_() for layer in layers for p in layer]
        self.encoder = encoder

    @staticmethod
    def drawn(inputs, widths, generator):
        sizes = [inputs, *widths, *reversed(widths[:-1]), inputs]
        layers = []
        for i, o in zip(sizes, sizes[1:]):
            limit = (6 / (i + o)) ** 0.5
            weight = (2 * torch.rand(i, o, generator=generator) - 1) * limit
            layers.append((weight, torch.zeros(o)))
        return Autoencoder(layers, len(widths))

    @staticmethod
    def exported(tensors, prefix):
        layers, encoder = [], 0
        for side in ("enc", "dec"):
            for at in itertools.count():
                name = f"{prefix}{side}.{at}"
                if f"{name}.weight" not in tensors:
                    break
                parts = (tensors[f"{name}.{part}"] for part in ("weight", "bias"))
                layers.append(tuple(torch.from_numpy(part) for part in parts))
                encoder += side == "enc"
        return Autoencoder(layers, encoder)

    def outputs(self, x):
        outputs = []
        count = len(self.parameters) // 2
        for layer in range(count):
            weight, bias = self.parameters[2 * layer : 2 * layer + 2]
            x = torch.addmm(bias, x, weight)
            x = torch.sigmoid(x) if layer + 1 == count else torch.selu(x)
            outputs.append(x)
        return outputs

    def train(self, pixels, batch, orders):
        """Adam as Keras has it, in the order of `orders`, one for each pass."""
        first = [torch.zeros_like(p) for p in self.parameters]
        second = [torch.zeros_like(p) for p in self.parameters]
        time = 0
        for order in orders:
            for start in range(0, len(order), batch):
                x = pixels[order[start : start + batch]]
                outputs = self.outputs(x)
                activity = sum(output.abs().sum() for output in outputs)
                loss = ((outputs[-1] - x) ** 2).mean() + PENALTY * activity / len(x)
                gradients = torch.autograd.grad(loss, self.parameters)
                time += 1
                rate = RATE * (1 - 0.999**time) ** 0.5 / (1 - 0.9**time)
                with torch.no_grad():
                    torch._foreach_lerp_(first, gradients, 0.1)
                    torch._foreach_mul_(second, 0.999)
                    torch._foreach_addcmul_(second, gradients, gradients, 0.001)
                    roots = torch._foreach_sqrt(second)
                    torch._foreach_add_(roots, EPSILON)
                    torch._foreach_addcdiv_(self.parameters, first, roots, -rate)

    @torch.no_grad()
    def layer(self, pixels, index):
        return self.outputs(pixels)[index]


def codes(pixels, tensors, generator):
    """Codes of the one autoencoder and of the stack; `generator` draws what `tensors` lacks."""
    bands = pixels.shape[1]

    def start(name, prefix, inputs, widths):
        epochs, batch = STAGES[name]
        if generator is None:
            orders = torch.from_numpy(tensors[f"{name}.order"]).long()
            return Autoencoder.exported(tensors, prefix), batch, orders
        draw = lambda: torch.randperm(len(pixels), generator=generator)
        orders = [draw() for _ in range(epochs)]
        return Autoencoder.drawn(inputs, widths, generator), batch, orders

    def trained(x, name, prefix, widths):
        model, batch, orders = start(name, prefix, x.shape[1], widths)
        model.train(x, batch, orders)
        error = ((model.layer(x, -1) - x) ** 2).mean().item()
        print(f"  {name}: error {error:.3e}", file=sys.stderr)
        return model

    single = trained(pixels, "canonical", "canonical.", [6, 4, 2])
    first = trained(pixels, "stack-1", "ae1.", [6, 4, 2])
    x = torch.cat([first.layer(pixels, -1), pixels], 1)
    second = trained(x, "stack-2", "ae2.", [10, 5, 2])
    x = torch.cat([second.layer(x, 1), x], 1)
    third = trained(x, "stack-3", "ae3.", [15, 10, 5, 2])
    assert x.shape[1] == 2 * bands + 5
    return {
        "autoencoder": single.layer(pixels, single.encoder - 1),
        "stack": third.layer(x, third.encoder - 1),
    }


def components(pixels):
    """The leading components that hold 90 % of the variance."""
    centred = pixels.double() - pixels.double().mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    values, vectors = values.flip(0), vectors.flip(1)
    share = torch.cumsum(values, 0) / values.sum()
    count = int((share < 0.9).sum()) + 1
    return (centred @ vectors[:, :count]).float()


def k_means(points, k, generator, restarts=10):
    """scikit-learn's: greedy k-means++, Lloyd, the best of several restarts."""
    x = points.double()
    tolerance = 1e-4 * x.var(0, unbiased=False).mean()
    best = (float("inf"), None)
    for _ in range(restarts):
        centres = x[torch.randint(len(x), (1,), generator=generator)]
        nearest = ((x - centres) ** 2).sum(1)
        for _ in range(k - 1):
            trials = 2 + int(numpy.log(k))
            draws = torch.multinomial(nearest, trials, replacement=True, generator=generator)
            candidates = torch.minimum(torch.cdist(x[draws], x) ** 2, nearest)
            chosen = candidates.sum(1).argmin()
            nearest = candidates[chosen]
            centres = torch.cat([centres, x[draws[chosen]][None]])
        labels = None
        for _ in range(300):
            distances = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist") ** 2
            found = distances.argmin(1)
            if labels is not None and torch.equal(found, labels):
                break
            labels = found
            counts = torch.bincount(labels, minlength=k)
            sums = torch.zeros_like(centres).index_add_(0, labels, x)
            moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
            shift = ((moved - centres) ** 2).sum()
            centres = moved
            if shift <= tolerance:
                break
        distances = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist") ** 2
        inertia, labels = distances.min(1).values.sum().item(), distances.argmin(1)
        best = min(best, (inertia, labels), key=lambda found: found[0])
    return best[1].numpy()


def majority(labels, window=7):
    """The mode of a window, mirrored with the edge; of equals the smallest."""
    padded = numpy.pad(labels, window // 2, mode="symmetric")
    windows = numpy.lib.stride_tricks.sliding_window_view(padded, (window, window))
    counts = numpy.stack([(windows == label).sum((2, 3)) for label in range(UNITS)])
    return counts.argmax(0)


def accuracy(units, labels):
    """The best one-to-one matching, in percent of the pixels."""
    table = numpy.zeros((UNITS, UNITS), int)
    numpy.add.at(table, (units, labels), 1)
    orders = numpy.array(list(itertools.permutations(range(UNITS))))
    return 100 * table[numpy.arange(UNITS), orders].sum(1).max() / len(units)


def main():
    print("scene,hash,arm,draws,accuracy,filtered")
    for path in sys.argv[1:]:
        tensors = read(path)
        seed = int(re.search(r"scene-(\d+)", str(path))[1])
        values, units = tensors["values"], tensors["units"]
        side = int(len(units) ** 0.5)
        pixels = torch.from_numpy(values)
        low, high = pixels.min(0).values, pixels.max(0).values
        pixels = (pixels - low) / (high - low)
        hashed = fingerprint(values)

        def row(arm, draws, features, generator):
            labels = k_means(features, UNITS, generator)
            cleaned = majority(labels.reshape(side, side)).reshape(-1)
            found = [accuracy(units, labels), accuracy(units, cleaned)]
            shares = ",".join(f"{share:.2f}" for share in found)
            print(f"{seed},{hashed},{arm},{draws},{shares}", flush=True)

        for arm, features in (("bands", pixels), ("pca", components(pixels))):
            row(arm, "ours", features, torch.Generator().manual_seed(0))
        for draws in ("ours", *(f"own-{at}" for at in range(OWN))):
            print(f"scene {seed}, {draws}", file=sys.stderr)
            generator = torch.Generator().manual_seed(0)
            own = None
            if draws != "ours":
                own = torch.Generator().manual_seed(1000 * seed + int(draws[4:]))
            for arm, features in codes(pixels, tensors, own).items():
                row(arm, draws, features, generator)


if __name__ == "__main__":
    main()
