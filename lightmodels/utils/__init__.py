"""Small tools that know tensors and Lightning, and nothing else of lightmodels."""
