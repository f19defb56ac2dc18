"""Embeddings: unit rows, one vector a text, kept on disk; defined for empty, foreign and endless texts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from ratoon.errors import DataError, ModelError
from ratoon.metrics.embeddings import embed as embeddings
from ratoon.metrics.embeddings.cache import Vectors, keys_of
from ratoon.metrics.embeddings.embed import EmbeddingConfig, embed, fingerprint, n_tokens

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors")


def test_like_texts_lie_nearer_than_unlike_ones_and_every_row_has_length_one(cache: Path) -> None:
    rows = embed(["How many apples are left?", "What number of apples remain?", "The capital of Peru is Lima."], cache=cache)
    assert rows.shape == (3, 384)
    assert rows.dtype == np.float32
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-6
    cosines = rows @ rows.T
    assert cosines[0, 1] > 0.7 > 0.3 > cosines[0, 2]


def test_a_text_has_one_vector_whatever_stands_beside_it_and_it_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed(["one plus two", "a much longer text " * 40, "one plus two"], cache=cache)
    assert (first[0] == first[2]).all()
    monkeypatch.setattr(embeddings, "_run", None)  # from here on nothing may be computed
    again = embed(["one plus two"], cache=cache)
    assert (again[0] == first[0]).all()


def test_empty_foreign_endless_and_broken_texts_have_vectors_and_nothing_has_none(cache: Path) -> None:
    odd = ["", "東京はどこですか", "x " * 500_000, "broken \ud800 surrogate", "\x00\x01"]
    rows = embed(odd, cache=cache)
    assert np.isfinite(rows).all()
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-6
    assert embed([], cache=cache).shape == (0, 384)


def test_half_precision_is_what_is_stored(cache: Path) -> None:
    half, whole = embed(["seven"], cache=cache, half=True), embed(["seven"], cache=cache)
    assert half.dtype == np.float16
    assert np.abs(half.astype(np.float32) - whole).max() < 1e-3


def test_a_null_is_refused_and_so_is_a_model_that_is_not_there(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="text 1 is NoneType"):
        embed(["a", None], cache=cache)  # type: ignore[list-item]
    with pytest.raises(ModelError, match=r"neither modules\.json nor config\.json"):
        embed(["a"], EmbeddingConfig(model=str(tmp_path)), cache=cache)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="cannot be had"):
        embed(["a"], EmbeddingConfig(model="nobody/no-such-model"), cache=cache)


def test_another_limit_is_another_fingerprint_and_tokens_beyond_it_are_counted() -> None:
    assert fingerprint(EmbeddingConfig()) == fingerprint(EmbeddingConfig(batch_tokens=64))
    assert fingerprint(EmbeddingConfig()) != fingerprint(EmbeddingConfig(max_tokens=128))
    assert list(n_tokens(["one two three", ""])) == [5, 2]
    assert n_tokens(["word " * 1000])[0] > 256


def test_the_packaged_models_vectors_are_those_that_its_states_averaged_by_hand_give(cache: Path) -> None:
    """Vectors stored by earlier versions stay comparable: they were made so."""
    texts = ["", "one plus two", "How many apples are left? " * 20, "word " * 1000, "東京はどこですか"]
    folder = str(embeddings.model_folder(EmbeddingConfig()))
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = tokenizer(texts, truncation=True, max_length=256, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = network(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    by_hand = embeddings.unit(((states * mask).sum(1) / mask.sum(1)).numpy())
    cosines = (by_hand * embed(texts, cache=cache)).sum(1)
    assert cosines.min() > 1 - 1e-3
    assert fingerprint(EmbeddingConfig()) == "embed_f4c84868a0edecf12e61e2a1"


def test_prompt_pooling_and_dense_layer_are_those_of_the_models_own_folder(tmp_path: Path) -> None:
    folder, model = tmp_path / "model", _with_prompt_and_dense_layer()
    model.save(str(folder))
    config = EmbeddingConfig(model=str(folder), max_tokens=32)
    rows = embed(["how many", "apples"], config, tmp_path / "cache")
    assert rows.shape == (2, 8)
    assert np.abs(rows - embeddings.unit(model.encode(["how many", "apples"]))).max() < 1e-3
    assert np.abs(rows - embeddings.unit(model.encode(["how many", "apples"], prompt=""))).max() > 1e-2
    before = fingerprint(config)
    said = folder / "config_sentence_transformers.json"
    said.write_text(said.read_text().replace("apples many ", "how "))
    assert fingerprint(config) != before


def _with_prompt_and_dense_layer() -> SentenceTransformer:
    """A random BERT of the packaged model's words: first token, a Dense layer to 8 numbers, a prompt before every text."""
    folder = str(embeddings.model_folder(EmbeddingConfig()))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with tempfile.TemporaryDirectory() as bare:
        BertModel(BertConfig(vocab_size=30522, initializer_range=0.5, **sizes)).save_pretrained(bare)
        AutoTokenizer.from_pretrained(folder).save_pretrained(bare)
        words = Transformer(bare, max_seq_length=64)
    modules = [words, Pooling(16, "cls"), Dense(16, 8), Normalize()]
    return SentenceTransformer(modules=modules, prompts={"ask": "apples many "}, default_prompt_name="ask", device="cpu")


def test_a_backend_that_is_not_installed_says_what_installs_it(cache: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded by openvino") as refusal:
        embed(["a text nobody embedded"], EmbeddingConfig(backend="openvino"), cache)
    assert "sentence-transformers[openvino]" in refusal.value.hint


def test_a_damaged_pair_of_files_counts_as_not_there(tmp_path: Path) -> None:
    kept = Vectors(tmp_path, 3)
    kept.add(keys_of(["a", "b"]), np.eye(3, dtype=np.float16)[:2])
    assert Vectors(tmp_path, 3).take(keys_of(["b", "a", "b"])).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert not Vectors(tmp_path, 4).has(keys_of(["a"])[0].tobytes())
    next(tmp_path.glob("*.rows.npy")).write_bytes(b"")
    assert not Vectors(tmp_path, 3).has(keys_of(["a"])[0].tobytes())
