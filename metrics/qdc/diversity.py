"""Diversity, under one name: spectra of embeddings, words, neighbours, regions. docs/metrics.md says which to trust for what.

Headlines: linear Vendi (change), RBF of order 2 (detail, nearly free of n), compression ratio (copying), effective clusters
(explainable) and the neighbour curve (local). Mean pairwise distance is no headline: it hardly notices a collapse.
"""

from __future__ import annotations

from ratoon.metrics.embeddings.clusters import (
    QD,
    Codebook,
    assign,
    chao1,
    codebook,
    effective_clusters,
    fit_codebook,
    qd_score,
    unseen_mass,
)
from ratoon.metrics.embeddings.neighbours import CUTS, knn_distance, nearest, neighbour_curve, novelty
from ratoon.metrics.embeddings.pairwise import dc_score, homogenisation, novel_sum, self_bleu
from ratoon.metrics.embeddings.spectrum import (
    SIGMA,
    Gram,
    Split,
    alpha_beta_gamma,
    gram,
    merge,
    rke,
    rke_sampled,
    sample_size,
    subsampled,
    unpacked,
    vendi_score,
)
from ratoon.metrics.text.lexical_diversity import compression_ratio, cut, distinct_n, n_grams, self_repetition

__all__ = [
    "CUTS", "QD", "SIGMA", "Codebook", "Gram", "Split", "alpha_beta_gamma", "assign", "chao1", "codebook",
    "compression_ratio", "cut", "dc_score", "distinct_n", "effective_clusters", "fit_codebook", "gram", "homogenisation",
    "knn_distance", "merge", "n_grams", "nearest", "neighbour_curve", "novel_sum", "novelty", "qd_score", "rke",
    "rke_sampled", "sample_size", "self_bleu", "self_repetition", "subsampled", "unpacked", "unseen_mass", "vendi_score",
]  # fmt: skip
