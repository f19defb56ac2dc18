"""Joins tables, engines and disk into stages; `flows` alone knows Prefect."""
