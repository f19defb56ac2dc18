"""Makes numbers from tables: verdicts, votes, rates with intervals, quality, diversity, complexity; decides nothing."""
