"""Writes the checkpoints and archives of this folder: python make.py <folder>."""

import pathlib
import pickle
import sys

import numpy as np
import torch

folder = pathlib.Path(sys.argv[1])

weight = torch.arange(6, dtype=torch.float32).reshape(2, 3)
model = {
    "encoder.weight": weight,
    "encoder.view": weight.T,
    "encoder.bias": torch.tensor([0.25, 0.5], dtype=torch.float64),
    "encoder.half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "encoder.steps": torch.tensor([7]),
}
torch.save(model, folder / "plain.pt")
torch.save(model, folder / "legacy.pth", _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "model": {"state_dict": model}}, folder / "nested.pt")
torch.save({"epoch": 3, "model": model, "ema": dict(model)}, folder / "two_roots.pt")

array = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
    "f32": array,
    "fortran": np.asfortranarray(array),
    "fortran_cube": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
    "big_endian": array.astype(">f4"),
    "f64": np.array([0.5, -1.0]),
    "f16": np.array([0.5, -1.0], dtype=np.float16),
    "i64": np.array([1, -2]),
    "i32": np.array([1, -2], dtype=np.int32),
    "u8": np.array([1, 255], dtype=np.uint8),
    "bool": np.array([True, False]),
    "scalar": np.float32(3.5),
}
np.savez(folder / "arrays.npz", **arrays)
np.savez_compressed(folder / "compressed.npz", **arrays)

# Lists of arrays, as Lasagne's parameters are kept; in the second one array stands twice.
lists = [
    array,
    np.asfortranarray(array),
    array.astype(">f4"),
    np.array([1, -2], dtype=np.int64),
]
(folder / "list.pickle").write_bytes(pickle.dumps(lists, protocol=3))
nested = {"layers": (array, {"bias": np.array([0.5]), "again": array}), "epoch": 3}
(folder / "nested.pkl").write_bytes(pickle.dumps(nested, protocol=4))
(folder / "lone.pickle").write_bytes(pickle.dumps(np.arange(3.0), protocol=3))


class Call:
    def __reduce__(self):
        return (print, ("called",))


(folder / "call.pickle").write_bytes(pickle.dumps([Call()], protocol=3))
