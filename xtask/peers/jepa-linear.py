"""Times jepa-linear's shapes in PyTorch; prints one JSON object {"name", "seconds"} per measurement."""

import json
import os
import statistics
import sys
import time

import torch
from torch import nn

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
torch.manual_seed(0)

SIZE, LAYERS, ROWS, EPSILON = 64, 3, 3200, 0.01


def covariances():
    rho = torch.tensor([0.3 + 0.01 * at for at in range(SIZE)], dtype=torch.float64)
    return torch.diag(1.0 / rho), torch.eye(SIZE, dtype=torch.float64)


def balanced():
    scale = EPSILON ** (1.0 / LAYERS)
    turns = [torch.linalg.qr(torch.randn(SIZE, SIZE, dtype=torch.float64))[0] for _ in range(LAYERS - 1)]
    product = torch.eye(SIZE, dtype=torch.float64)
    for turn in turns:
        product = turn @ product
    eye = torch.eye(SIZE, dtype=torch.float64)
    return [scale * turn for turn in [*turns, product.T]] + [scale * eye]


def gradients(chain, xx, yx):
    *layers, head = chain
    below = [layers[0]]
    for layer in layers[1:]:
        below.append(layer @ below[-1])
    encoder = below[-1]
    error = head @ encoder @ xx - encoder @ yx
    down, found = head.T @ error, []
    for at in range(len(layers) - 1, -1, -1):
        found.append(down @ below[at - 1].T if at else down)
        if at:
            down = layers[at].T @ down
    return found[::-1] + [error @ encoder.T]


def moved(chain, slope, h):
    return [w - h * g for w, g in zip(chain, slope)]


def runge_kutta(chain, xx, yx, h):
    first = gradients(chain, xx, yx)
    second = gradients(moved(chain, first, h / 2), xx, yx)
    third = gradients(moved(chain, second, h / 2), xx, yx)
    fourth = gradients(moved(chain, third, h), xx, yx)
    slopes = zip(first, second, third, fourth)
    return moved(chain, [a + 2 * b + 2 * c + d for a, b, c, d in slopes], h / 6)


def descent(chain, xx, yx, h):
    return moved(chain, gradients(chain, xx, yx), h)


def report(name, run, samples, warm=2):
    for _ in range(warm):
        run()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": statistics.median(times)}), flush=True)


def steps(step):
    (xx, yx), start = covariances(), balanced()

    def run():
        chain = start
        for _ in range(100):
            chain = step(chain, xx, yx, 0.1)
        return chain

    return run


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(*[nn.Linear(SIZE, SIZE, bias=False) for _ in range(LAYERS)])
        self.head = nn.Linear(SIZE, SIZE, bias=False)
        with torch.no_grad():
            for layer, matrix in zip([*self.encoder, self.head], balanced()):
                layer.weight.copy_(matrix)

    def forward(self, x):
        return self.head(self.encoder(x))

    def loss(self, x, y):
        return (self(x) - self.encoder(y).detach()).square().sum(1).mean() / 2


def training():
    model, x, y = Network(), torch.randn(ROWS, SIZE), torch.randn(ROWS, SIZE)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)

    def run():
        optimiser.zero_grad()
        loss = model.loss(x, y)
        loss.backward()
        optimiser.step()
        return loss.item()

    return run


def main(only):
    def wanted(name):
        return not only or name in only

    with torch.no_grad():
        if wanted("runge_kutta_100"):
            report("runge_kutta_100", steps(runge_kutta), 20)
        if wanted("descent_100"):
            report("descent_100", steps(descent), 20)
        if wanted("forward"):
            model, x = Network(), torch.randn(ROWS, SIZE)
            report("forward", lambda: model(x), 50)
    if wanted("step"):
        report("step", training(), 50)


if __name__ == "__main__":
    main(sys.argv[1:])
