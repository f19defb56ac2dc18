"""Texts embedded per second: `embed`, and the same model run by transformers alone, averaged by hand, in turn.

python benchmarks/embeddings.py [TEXTS]      default 600 texts of 5 to 250 words, three turns each
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from ratoon.metrics.embeddings.embed import EmbeddingConfig, embed, model_folder, unit

TURNS = 3
BATCH_TOKENS = 8192
WORDS = ("how", "many", "apples", "are", "left", "when", "three", "friends", "share", "seven", "baskets", "and", "two", "empty")


def texts(n: int, turn: int) -> list[str]:
    """`n` texts of 5 to 250 words, others in every turn: a text seen before costs nothing."""
    rng = np.random.default_rng(turn + 1)
    return [f"{turn} {i} " + " ".join(rng.choice(WORDS, int(rng.integers(5, 251)))) for i in range(n)]


def by_hand(some: list[str], tokenizer: Any, network: Any) -> NDArray[Any]:
    """The mean of the last states of each text's tokens, unit length; batches of like length, 8,192 padded tokens each."""
    ids = tokenizer(some, truncation=True, max_length=256)["input_ids"]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    rows = np.zeros((len(some), network.config.hidden_size), np.float32)
    while order:
        at = [i for rank, i in enumerate(order) if (rank + 1) * len(ids[i]) <= BATCH_TOKENS]
        order = order[len(at) :]
        tokens = tokenizer.pad({"input_ids": [ids[i] for i in at]}, return_tensors="pt")
        with torch.inference_mode():
            states = network(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        rows[at] = ((states * mask).sum(1) / mask.sum(1)).numpy()
    return unit(rows)


def main(n: int = 600) -> None:
    folder = str(model_folder(EmbeddingConfig()))
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    spent: dict[str, list[tuple[float, float]]] = {"embed": [], "by hand": []}
    with tempfile.TemporaryDirectory() as cache:
        embed(texts(8, -1), cache=Path(cache))  # loads the model
        for turn in range(TURNS):
            started = time.perf_counter(), time.process_time()
            ours = embed(texts(n, turn), cache=Path(cache))
            between = time.perf_counter(), time.process_time()
            theirs = by_hand(texts(n, turn), tokenizer, network)
            spent["embed"].append((between[0] - started[0], between[1] - started[1]))
            spent["by hand"].append((time.perf_counter() - between[0], time.process_time() - between[1]))
            assert (ours * theirs).sum(1).min() > 1 - 1e-3
    for clock, what in enumerate(("wall", "processor")):
        rate = {name: [n / seconds[clock] for seconds in each] for name, each in spent.items()}
        told = "; ".join(f"{name} {', '.join(f'{r:.1f}' for r in each)}" for name, each in rate.items())
        print(
            f"texts per second of {what} time: {told}; ratio of medians {median(rate['embed']) / median(rate['by hand']):.3f}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
