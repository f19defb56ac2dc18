"""The Prefect flows: the loop of rounds, its fan-out over shards, schedules; nothing else imports Prefect."""
