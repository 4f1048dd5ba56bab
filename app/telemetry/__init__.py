"""What operators see of a running process: metrics, logs and traces. Knows nothing of pictures, HTTP or jobs."""
