"""Small tools for tensors and Lightning that know nothing of the other packages."""
