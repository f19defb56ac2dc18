"""Candidates and side tables to decisions, decisions to a dataset."""
