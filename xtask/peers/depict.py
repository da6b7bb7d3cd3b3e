"""The benches of depict in PyTorch: 100 images of 1x28x28, 50 maps, 10 clusters.

Prints one JSON line per measurement, {"name", "seconds"}: the median of the repetitions. The
number of threads is that of OMP_NUM_THREADS. Matching is timed where SciPy is installed.
"""

import json
import os
import time

import torch
import torch.nn.functional as F

BATCH, MAPS, CLUSTERS = 100, 50, 10
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
torch.manual_seed(0)


class Depict(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, MAPS, 4, 2)
        self.conv2 = torch.nn.Conv2d(MAPS, MAPS, 5, 2, 2)
        self.fc_enc = torch.nn.Linear(MAPS * 49, CLUSTERS)
        self.fc_dec = torch.nn.Linear(CLUSTERS, MAPS * 49)
        self.deconv1 = torch.nn.ConvTranspose2d(MAPS, MAPS, 5, 2, 2)
        self.deconv0 = torch.nn.ConvTranspose2d(MAPS, 1, 4, 2)
        self.cluster = torch.nn.Linear(CLUSTERS, CLUSTERS)

    def maps(self, x, noisy):
        if noisy:
            x = F.dropout(x, 0.1)
        first = F.leaky_relu(self.conv1(x), 0.01)
        passed = F.dropout(first, 0.1) if noisy else first
        return first, F.leaky_relu(self.conv2(passed), 0.01)

    def encode(self, x, noisy=False):
        return torch.tanh(self.fc_enc(self.maps(x, noisy)[1].flatten(1)))

    def decode(self, z):
        second = F.leaky_relu(self.fc_dec(z), 0.01).view(-1, MAPS, 7, 7)
        first = F.leaky_relu(self.deconv1(second), 0.01)
        return second, first, torch.tanh(self.deconv0(first))

    def probabilities(self, x):
        return torch.softmax(self.cluster(self.encode(x)), 1)


def loss_of(model, x, q):
    e1, e2 = model.maps(x, noisy=False)
    z = model.encode(x, noisy=True)
    r2, r1, image = model.decode(z)
    reconstruction = F.mse_loss(image, x) + 0.1 * F.mse_loss(r1, e1) + 0.1 * F.mse_loss(r2, e2)
    clustering = -(q * F.log_softmax(model.cluster(z), 1)).sum() / len(x)
    return reconstruction + clustering, reconstruction, clustering


def measure(name, run, repetitions=20):
    for _ in range(3):
        run()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    times.sort()
    print(json.dumps({"name": name, "seconds": times[len(times) // 2]}), flush=True)


def main():
    model = Depict()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    images = torch.rand(10_000, 1, 28, 28) * 2 - 1
    p = torch.rand(70_000, CLUSTERS)
    p = p / p.sum(1, keepdim=True)
    stored = p.clone()

    def forward():
        with torch.no_grad():
            model.probabilities(images[:BATCH])

    def step():
        indices = torch.randperm(len(images))[:BATCH]
        x, q = images[indices], stored[indices]
        optimiser.zero_grad()
        loss, reconstruction, clustering = loss_of(model, x, q)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            stored[indices] = model.probabilities(x)
        return loss.item(), reconstruction.item(), clustering.item()

    def inference():
        with torch.no_grad():
            return torch.cat([model.probabilities(part) for part in images.split(500)])

    def e_step():
        shares = p * p / p.sum(0)
        return shares / shares.sum(1, keepdim=True)

    def k_means():
        centres = p[:CLUSTERS].clone()
        for _ in range(20):
            labels = torch.cdist(p, centres).argmin(1)
            sums = torch.zeros_like(centres).index_add_(0, labels, p)
            counts = torch.bincount(labels, minlength=CLUSTERS).clamp(min=1)
            centres = sums / counts[:, None]
        return torch.cdist(p, centres).min(1).values.square().sum()

    measure("forward", forward)
    measure("step", step)
    measure("inference_10000", inference, 3)
    measure("e_step", e_step)
    measure("k_means", k_means, 5)
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        return
    costs = -torch.randint(0, 100, (68, 68)).numpy()
    measure("matching", lambda: linear_sum_assignment(costs))


if __name__ == "__main__":
    main()
