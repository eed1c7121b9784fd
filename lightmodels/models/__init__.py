"""The worked models, one whole model per file."""
