"""The fast loops in place of Lightning's; one door, ``install()``."""
