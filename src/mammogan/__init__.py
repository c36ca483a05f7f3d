"""mammogan: synthetic mammograms that enlarge a small repository, with the evidence to judge them."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mammogan.loading import Synthesiser

__version__ = "0.1.0"


def load(spec: str, root: str | Path | None = None, device: str = "cpu") -> "Synthesiser":
    """A generator as a Python object: `mammogan.load("models:/mammogan-stylegan@champion").sample(16, seed=7)`.

    Args:
        spec: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID`, `dcgan` or `stylegan` (the champion), or a
            .safetensors file.
        root: of the clone whose tracking store is asked; None: that of the current folder. A file needs none.
        device: where images are drawn. Bytes are those of the server on the CPU alone.

    Raises:
        MammoganError: there is no such generator, or its file is damaged; one message says how to mend it.
    """
    from mammogan.loading import load as load_synthesiser  # torch and mlflow take seconds to import

    return load_synthesiser(spec, None if root is None else Path(root), device)
