"""What the Trainer says about the hardware."""

import warnings

import pytest
import torch
from helpers.fits import fitted
from helpers.models import Classifier

EMULATED = {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}


@pytest.mark.parametrize(
    ("capabilities", "precision", "warns"),
    [
        (EMULATED, "bf16-mixed", True),
        (EMULATED, "32-true", False),
        (EMULATED | {"amx_bf16": True}, "bf16-mixed", False),
        ({}, "bf16-mixed", False),
    ],
    ids=["emulated", "fp32", "supported", "unknown"],
)
def test_half_precision_that_is_emulated_is_named_once(monkeypatch, capabilities, precision, warns):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted(Classifier, max_epochs=1, precision=precision)
    found = [str(each.message) for each in caught if "bfloat16" in str(each.message)]
    assert len(found) == warns
    assert all(text.endswith("precision 32-true is faster") for text in found)
