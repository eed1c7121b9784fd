"""Writes scikit-learn's digits as a CSV file: 64 columns of pixels in 0..16, then the class."""

import sys

import numpy as np
from sklearn.datasets import load_digits

if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    names = [f"pixel{number}" for number in range(x.shape[1])] + ["digit"]
    rows = np.column_stack([x, y]).astype(int)
    np.savetxt(sys.argv[1], rows, fmt="%d", delimiter=",", header=",".join(names), comments="")
