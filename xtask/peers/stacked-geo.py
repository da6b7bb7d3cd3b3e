"""The benches of stacked-geo in PyTorch, and in scikit-learn and SciPy where they are installed.

Prints one JSON line per measurement, {"name", "seconds"}: the median of the repetitions. The
number of threads is that of OMP_NUM_THREADS. SciPy's filter calls Python for every pixel, as the
notebooks do; it is timed on a 25th of the map.
"""

import json
import os
import time

import torch

BANDS = 7
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)


class Autoencoder(torch.nn.Module):
    def __init__(self, inputs, widths):
        super().__init__()
        sizes = [inputs, *widths]
        pairs = list(zip(sizes, sizes[1:]))
        self.enc = torch.nn.ModuleList(torch.nn.Linear(i, o) for i, o in pairs)
        self.dec = torch.nn.ModuleList(torch.nn.Linear(o, i) for i, o in reversed(pairs))

    def encode(self, x):
        outputs = []
        for layer in self.enc:
            x = torch.selu(layer(x))
            outputs.append(x)
        return outputs

    def forward(self, x):
        outputs = self.encode(x)
        x = outputs[-1]
        for index, layer in enumerate(self.dec):
            x = layer(x)
            x = torch.selu(x) if index + 1 < len(self.dec) else torch.sigmoid(x)
            outputs.append(x)
        return outputs


def measure(name, run, repetitions=30, scale=1.0):
    for _ in range(min(3, repetitions)):
        run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": scale * times[len(times) // 2]}), flush=True)


def main():
    first = Autoencoder(BANDS, [6, 4, 2])
    second = Autoencoder(2 * BANDS, [10, 5, 2])
    third = Autoencoder(2 * BANDS + 5, [15, 10, 5, 2])
    pixels = torch.rand(100_000, BANDS)

    def forward():
        with torch.no_grad():
            x = torch.cat([first(pixels)[-1], pixels], 1)
            x = torch.cat([second.encode(x)[1], x], 1)
            return third.encode(x)[-1]

    model = Autoencoder(BANDS, [6, 4, 2])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    many = torch.rand(640_000, BANDS)

    def step():
        x = many[torch.randint(0, len(many), (64,))]
        optimiser.zero_grad()
        outputs = model(x)
        error = ((outputs[-1] - x) ** 2).mean()
        activity = 1e-4 / len(x) * sum(output.abs().sum() for output in outputs)
        loss = error + activity
        loss.backward()
        optimiser.step()
        return loss.item(), error.item(), activity.item()

    measure("forward_100000", forward)
    measure("step", step, 300)
    points = torch.rand(1_000_000, 2)
    try:
        from sklearn.cluster import KMeans

        data = points.numpy()

        def lloyd():
            k_means = KMeans(7, init=data[:7], n_init=1, max_iter=10, tol=0)
            return k_means.fit(data).inertia_

    except ImportError:

        def lloyd():
            centres = points[:7].clone()
            for _ in range(10):
                labels = torch.cdist(points, centres).argmin(1)
                sums = torch.zeros_like(centres).index_add_(0, labels, points)
                counts = torch.bincount(labels, minlength=7).clamp(min=1)
                centres = sums / counts[:, None]
            return torch.cdist(points, centres).min(1).values.square().sum()

    measure("lloyd_million", lloyd, 10)
    try:
        import numpy
        from scipy.ndimage import generic_filter
    except ImportError:
        return

    def mode(window):
        values, counts = numpy.unique(window, return_counts=True)
        return values[counts.argmax()]

    classes = numpy.random.default_rng(0).integers(0, 7, (300, 400)).astype(numpy.uint8)
    measure("majority_3_million", lambda: generic_filter(classes, mode, 7, mode="reflect"), 1, 25)


if __name__ == "__main__":
    main()
