"""Fits with a Lightning in which private names have changed: python renamed_lightning.py A,B C,D ...

Prints a JSON object for each group of names, the first for Lightning as it is.
"""

import contextlib
import io
import json
import re
import sys
import tempfile
import warnings
from importlib.machinery import PathFinder, SourceFileLoader

names: list[str] = []  # the names that are renamed in all of Lightning's files


class Renaming(SourceFileLoader):
    """Replaces the names in a source file before it is compiled."""

    def get_code(self, module):
        source = self.get_source(module)
        if not any(name in source for name in names):
            return super().get_code(module)
        return self.source_to_code(re.sub(rf"\b({'|'.join(names)})\b", r"\1_now", source), self.path)


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
    import pytorch_lightning as pl

    from helpers.models import OneCycle, points
    from lightmodels import Trainer
    from lightmodels.data.tensor_loader import TensorLoader

    pl.seed_everything(7, verbose=False)
    model, options = OneCycle(), {"val_check_interval": 2, "save_every_n_steps": 2}
    loaders = [
        TensorLoader(*points(), batch_size=25, shuffle=True),
        TensorLoader(*points(31, 1), batch_size=9),
    ]
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()) as output:
        warnings.simplefilter("always")
        trainer = Trainer(gpus=0, max_epochs=2, run_dir=folder, figures=False, **options)
        trainer.fit(model, *loaders)
    refused = []
    for option in ({"steps_per_execution": 2}, {"compile": True}):
        try:
            Trainer(gpus=0, **option)
        except ValueError as error:
            refused.append(str(error))
    history = [{name: row[name] for name in row if "second" not in name} for row in model.history]
    table = [line.split()[:6] for line in output.getvalue().splitlines()]  # without the seconds
    return {
        "loop": type(trainer.fit_loop.epoch_loop).__module__,
        "results": [repr(model.state_dict()), history, table],
        "warnings": [str(warning.message) for warning in caught if "own loops" in str(warning.message)],
        "refused": refused,
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, Finder)
    for group in ["", *sys.argv[1:]]:
        names[:] = group.split(",") if group else []
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(fit(f"{folder}/run")), flush=True)
