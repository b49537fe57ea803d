"""AnnData, the table of single-cell biology: cells by genes, with names and further tables of the same."""

import sys
from typing import Any

from gammabeta.errors import DataError


def is_ann_data(x: Any) -> bool:
    """Whether x is AnnData, whose matrix is `x.X`."""
    kind = getattr(sys.modules.get("anndata"), "AnnData", None)
    return kind is not None and isinstance(x, kind)


def matrix(x: Any) -> Any:
    """The matrix of AnnData in memory, (cells, genes), dense or sparse.

    Raises:
        DataError: it has none, or it lies in a file.
    """
    if x.X is None:
        raise DataError("AnnData must have a matrix X to be scaled, got one without; set adata.X to a layer of it")
    if x.isbacked:
        raise DataError(
            "AnnData must be in memory to be scaled, got one that lies in a file: adata.to_memory(); "
            "gammabeta.data.moments(path) measures the file"
        )
    return x.X


def with_matrix(x: Any, image: Any, *, copy: bool) -> Any:
    """AnnData with another matrix and all else as it was: x itself without `copy`, unless it is a view of another."""
    given = x.copy() if copy or x.is_view else x
    given.X = image
    return given
