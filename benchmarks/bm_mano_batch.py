"""The hand model's forward computation in batches, against one hand at a time and against plain einsum formulas.

Run from the repository root: python -m benchmarks.bm_mano_batch
"""

from benchmarks.harness import Benchmark  # first: it limits the threads of what is imported next

# isort: split

import numpy as np
import torch

from im2hands.hands.model_files import builtin_hand_models, model_arrays
from im2hands.hands.sides import Side
from tests.naive.mano import naive_hand

HANDS = 512


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(HANDS, 48)) * 0.4, rng.normal(size=(HANDS, 10)), rng.normal(size=(HANDS, 3))
    model = builtin_hand_models()[Side.RIGHT]
    benchmark = Benchmark("mano_batch", packages=("numpy", "torch"))
    for dtype in (torch.float64, torch.float32):
        hand = model.to(dtype=dtype)
        tensors = [torch.from_numpy(value).to(dtype) for value in inputs]
        naive_dtype = np.float64 if dtype == torch.float64 else np.float32
        arrays = {name: array.astype(naive_dtype) for name, array in model_arrays(model).items()}
        values = [value.astype(naive_dtype) for value in inputs]
        for count in (HANDS, 64):
            batch = [tensor[:count] for tensor in tensors]
            benchmark.compare(
                f"{count} hands, {str(dtype).removeprefix('torch.')} (per hand)",
                lambda hand=hand, batch=batch: hand.pose(*batch),
                {
                    "same function, one hand at a time": lambda hand=hand, batch=batch, count=count: [
                        hand.pose(*(tensor[k : k + 1] for tensor in batch)) for k in range(count)
                    ],
                    "plain formulas, same batch": lambda arrays=arrays, values=values, count=count: naive_hand(
                        arrays, *(value[:count] for value in values)
                    ),
                    "plain formulas, one hand at a time": lambda arrays=arrays, values=values, count=count: [
                        naive_hand(arrays, *(value[k : k + 1] for value in values)) for k in range(count)
                    ],
                },
                repeats=3,
                per=count,
            )
    benchmark.save()


if __name__ == "__main__":
    main()
