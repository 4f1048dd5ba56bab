"""Long work over a queue (the jobs issue builds it here)."""
