"""Fits with a Lightning in which a private name has changed: python -m helpers.renamed_lightning NAME...

Prints a JSON object for each name, the first for Lightning as it is.
"""

import contextlib
import gc
import io
import json
import os
import re
import sys
import tempfile
import warnings
from importlib.machinery import PathFinder, SourceFileLoader

renamed = ""  # the name that is another one in all of Lightning's files


class Renaming(SourceFileLoader):
    """Replaces the name in a source file before it is compiled."""

    def get_code(self, module):
        source = self.get_source(module)
        if not renamed or renamed not in source:
            return super().get_code(module)
        return self.source_to_code(re.sub(rf"\b{renamed}\b", f"{renamed}_now", source), self.path)


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target) if name.startswith("pytorch_lightning") else None
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Renaming(name, spec.origin)
        return spec


def fit(folder):
    ours = ("pytorch_lightning", "lightmodels", "helpers")
    for module in [name for name in sys.modules if name.startswith(ours)]:
        del sys.modules[module]
    from helpers.fits import fitted
    from helpers.models import OneCycle
    from lightmodels import Trainer

    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()) as output:
        warnings.simplefilter("always")
        model = fitted(OneCycle, max_epochs=2, run_dir=folder, val_check_interval=2, save_every_n_steps=2)
    refused = []
    for option in ({"steps_per_execution": 2}, {"compile": True}):
        try:
            Trainer(gpus=0, **option)
        except ValueError as error:
            refused.append(str(error))
    history = [{name: row[name] for name in row if "second" not in name} for row in model.history]
    table = [line.split()[:6] for line in output.getvalue().splitlines()]  # without the seconds
    return {
        "loop": type(model.trainer.fit_loop.epoch_loop).__module__,
        "results": [[weight.tolist() for weight in model.state_dict().values()], history, table],
        "warnings": [str(warning.message) for warning in caught if "own loops" in str(warning.message)],
        "refused": refused,
    }


if __name__ == "__main__":
    gc.disable()  # collections would take longer than the fits
    sys.meta_path.insert(0, Finder)
    for renamed in ["", *sys.argv[1:]]:  # noqa: B007 (read by Renaming)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(fit(f"{folder}/run")), flush=True)
    os._exit(0)  # to take all modules apart takes longer than some fits
