"""Training steps compiled by ``torch.compile``."""
