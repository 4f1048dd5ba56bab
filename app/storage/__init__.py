"""Where sources and results of jobs live (the jobs issue builds it here)."""
