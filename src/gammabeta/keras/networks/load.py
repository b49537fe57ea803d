"""A model's weights from a file that Keras wrote."""

from pathlib import Path
from typing import Any

import keras

from gammabeta.errors import FileError


def weigh(model: keras.Model, path: Path, place: str) -> None:
    """Give a model the weights of a .weights.h5 or .keras file.

    Raises:
        FileError: it holds others, or cannot be read; the message has the reason.
    """
    try:
        model.load_weights(path)
    except Exception as error:
        why = str(error).partition("\n")[0]
        raise FileError(f"{str(path)!r} does not hold the weights of {place}: {why}") from error


def given(array: Any) -> Any:
    """An array as the model takes it."""
    return array
