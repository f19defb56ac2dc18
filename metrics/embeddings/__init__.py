"""Texts as vectors, stored by content, and what is computed from vectors: neighbours, clusters, spectra."""
