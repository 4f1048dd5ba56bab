"""Jobs, against a real queue server."""
