"""Long work: queue, workers, and the processes that both run in."""
