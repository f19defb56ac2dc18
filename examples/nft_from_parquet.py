"""NFT on replies of your own, with no run behind them: `python examples/nft_from_parquet.py OUT`. A tiny random model on a CPU.

The file needs four columns: prompt, completion, label, and which replies are to one prompt (group). Here the tiny model itself
sampled them: NFT's ratio is to the policy that sampled, so the model you name must be that one.
"""

# %% a model: yours would be a folder or a hub id
from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon.engine import Policy, Request, Sampling
from ratoon.generators.engines.transformers import TransformersConfig, TransformersEngine
from ratoon.pipelines.flows.standalone import train
from ratoon.render import Renderer
from ratoon.sft.models.tiny import make_tiny

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/nft-from-parquet")
model = make_tiny(out / "sampler")
renderer = Renderer(model)

# %% sample it: eight replies to each of six prompts, from its own distribution (temperature 1, nothing else set)
questions = [f"What is {i} + {i + 1}?" for i in range(6)]
prompts = renderer.render([[{"role": "user", "content": question}] for question in questions])
sampling = Sampling(temperature=1.0, max_tokens=12, stop_token_ids=renderer.end_of_turn_ids)
requests = [Request(f"{g}-{i}", "sampler", ids, sampling) for g, ids in enumerate(prompts) for i in range(8)]
with TransformersEngine(TransformersConfig(), seed=0) as engine:
    engine.use(Policy("sampler", str(model)))
    replies = {reply.request_id: reply for reply in engine.generate(requests)}

# %% label them: a real verifier goes here; this one likes replies with a digit, which about a third of them have
rows = []
for request_id, reply in sorted(replies.items()):
    problem = int(request_id.split("-")[0])
    text = renderer.decode(reply.token_ids)
    told = {"question": questions[problem], "reply": text, "good": any(c.isdigit() for c in text), "problem": problem}
    rows.append(told | {"token_ids": list(reply.token_ids), "logprobs": list(reply.logprobs or ()),
                        "finish_reason": reply.finish_reason})  # fmt: skip
pq.write_table(pa.Table.from_pylist(rows), out / "replies.parquet")

# %% train. Token ids and log-probs may be left out of the file: then both are made here
columns = ["prompt=question", "completion=reply", "label=good", "group=problem"]
sets = ["train.method=nft", "train.learning_rate=1e-3", "train.epochs=1", "train.batch_size=16", "train.bf16=false"]
trained = train(out / "replies.parquet", out / "trained", model=str(model), columns=columns, sets=sets, quiet=True)

# %% what it did: right replies up, wrong ones down, and how far the policy went from the one that sampled
print(f"{trained.manifest.examples} replies in {trained.steps} steps; engine and trainer differ by "
      f"{trained.manifest.logprob_gap:.4f} nats a token")  # fmt: skip
for line in (out / "trained" / "metrics.jsonl").read_text().splitlines():
    step = json.loads(line)
    print({name: round(step[name], 4) for name in ("step", "ratio", "clip_fraction", "kl", "positives")})
