"""What ``benchmark.py`` compares, and the processes that it runs them in."""
