"""What every stage needs: the context, running a stage once, rows by shard, the meter of a budget."""
