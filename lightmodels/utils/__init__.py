"""Small tools that know tensors and Lightning, and nothing of lightmodels."""
