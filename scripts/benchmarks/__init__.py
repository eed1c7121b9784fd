"""The contenders of ``benchmark.py``, the processes they run in, and the report."""
