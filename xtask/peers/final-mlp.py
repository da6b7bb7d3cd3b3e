"""Times final-mlp's shapes in PyTorch, in FuxiCTR's form; prints one JSON object {"name", "seconds"} per
measurement."""

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

VOCABULARIES = (16_977, 23_606, 49_659)
ROWS, DIM = 4096, 10


def mlp(inputs, widths, output=None, dropout=0.0, norm=False):
    layers = []
    for width in widths:
        layers.append(nn.Linear(inputs, width))
        if norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        inputs = width
    if output is not None:
        layers.append(nn.Linear(inputs, output))
    return nn.Sequential(*layers)


class Fusion(nn.Module):
    def __init__(self, x, y, heads, grouped):
        super().__init__()
        self.grouped = grouped
        self.heads, self.x, self.y = heads, x // heads, y // heads
        self.w_x, self.w_y = nn.Linear(x, 1), nn.Linear(y, 1)
        self.w_xy = nn.Parameter(torch.empty(heads * self.x * self.y, 1))
        nn.init.xavier_normal_(self.w_xy)

    def forward(self, x, y):
        linear = self.w_x(x) + self.w_y(y)
        if self.grouped:
            # The heads as a batch: PyTorch's better form.
            x = x.view(-1, self.heads, self.x).transpose(0, 1)
            y = y.view(-1, self.heads, self.y).transpose(0, 1)
            left = torch.bmm(x, self.w_xy.view(self.heads, self.x, self.y))
            return linear + (left * y).sum((0, 2)).unsqueeze(1)
        x = x.view(-1, self.heads, self.x).unsqueeze(2)
        y = y.view(-1, self.heads, self.y).unsqueeze(-1)
        # One product per row and head, as FuxiCTR has it.
        left = torch.matmul(x, self.w_xy.view(self.heads, self.x, self.y))
        return linear + torch.matmul(left, y).squeeze(-1).sum(1)


class FinalMlp(nn.Module):
    """The MovieLens settings: three fields, gates without context fields."""

    def __init__(self, grouped=False):
        super().__init__()
        flat = DIM * len(VOCABULARIES)
        self.tables = nn.ModuleList(nn.Embedding(v, DIM, padding_idx=0) for v in VOCABULARIES)
        for table in self.tables:
            nn.init.normal_(table.weight[1:].detach(), std=1e-4)
        self.contexts = nn.ParameterList(nn.Parameter(torch.zeros(1, DIM)) for _ in range(2))
        self.gates = nn.ModuleList(mlp(DIM, [800], output=flat) for _ in range(2))
        self.mlp1 = mlp(flat, [400], dropout=0.4, norm=True)
        self.mlp2 = mlp(flat, [800], dropout=0.2, norm=True)
        self.fusion = Fusion(400, 800, 10, grouped)

    def forward(self, ids):
        embedded = [table(ids[:, at]) for at, table in enumerate(self.tables)]
        flat = torch.stack(embedded, dim=1).flatten(start_dim=1)
        features = []
        for context, gate in zip(self.contexts, self.gates):
            features.append(flat * (gate(context.repeat(len(flat), 1)).sigmoid() * 2))
        return self.fusion(self.mlp1(features[0]), self.mlp2(features[1])).sigmoid()

    def penalty(self):
        return sum(0.01 / 2 * torch.norm(table.weight, 2) ** 2 for table in self.tables)


def report(name, run, samples, warm=2):
    for _ in range(warm):
        run()
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(json.dumps({"name": name, "seconds": statistics.median(times)}), flush=True)


def batch():
    columns = [torch.randint(1, vocabulary, (ROWS,)) for vocabulary in VOCABULARIES]
    return torch.stack(columns, dim=1), torch.randint(0, 2, (ROWS, 1)).float()


def training(grouped):
    model = FinalMlp(grouped).train()
    ids, labels = batch()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run():
        optimiser.zero_grad()
        loss = F.binary_cross_entropy(model(ids), labels) + model.penalty()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        return loss.item()

    return run


def main(only):
    def wanted(name):
        return not only or name in only

    if wanted("forward"):
        with torch.no_grad():
            model, (ids, _) = FinalMlp().eval(), batch()
            report("forward", lambda: model(ids), 5)
    for name, grouped in (("step_grouped", True), ("step_dense", False), ("step", False)):
        if wanted(name):
            report(name, training(grouped), 10 if grouped else 3, 1)


if __name__ == "__main__":
    main(sys.argv[1:])
