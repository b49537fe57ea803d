"""The map that is shipped: the parameters of an `Affine`, the columns' names, and what the images are clipped to."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta.errors import DataError, KindError
from gammabeta.export import c_header, onnx_model, polars_expressions, sql_select

Floats = NDArray[np.float64]


class FittedMap(NamedTuple):
    """y = (x − center) · slope + shift, then clipped to `limits` unless None. Parameters: float64, of one shape."""

    center: Floats
    slope: Floats
    shift: Floats
    limits: tuple[float, float] | None = None
    names: tuple[str, ...] | None = None
    """The columns' names, where they are known."""

    def checked(self) -> "FittedMap":
        """The map, once its parameters are numbers that can be written down."""
        if not all(np.isfinite(p).all() for p in (self.center, self.slope, self.shift)):
            raise DataError(
                "a map must have finite parameters to be exported: a feature without values has none; leave it out"
            )
        return self

    def columns(self, given: Sequence[str] | None) -> list[str]:
        """The columns' names, as given or known: one for each feature."""
        if isinstance(given, str):
            raise KindError(f"columns must be a sequence of names, got the text {given!r}: put it in a list")
        names = list(self.names or ()) if given is None else list(given)
        if not all(isinstance(name, str) for name in names):
            raise KindError(f"columns must be names, got {names!r}")
        if self.center.ndim != 1 or len(names) != len(self.center):
            known = "none are known" if given is None and self.names is None else f"got {len(names)}"
            raise DataError(f"columns must name the features of shape {self.center.shape}, one each, {known}")
        if len(set(names)) != len(names):
            raise DataError("columns must name each feature once")
        return names

    def to_json(self) -> str:
        """A JSON object: columns (null where not known), center, slope, shift, and limits (null, or the ends)."""
        given = self.checked()
        parameters = {name: getattr(given, name).tolist() for name in ("center", "slope", "shift")}
        columns, limits = (None if part is None else list(part) for part in (given.names, given.limits))
        return json.dumps({"columns": columns, **parameters, "limits": limits}, indent=1) + "\n"

    @property
    def features(self) -> list[tuple[float, float, float]]:
        """center, slope and shift of each feature, as Python's numbers."""
        return list(zip(*(p.reshape(-1).tolist() for p in self[:3]), strict=True))


class Exports:
    """The methods by which a map leaves Python; a class says which map it is."""

    def _fitted_map(self) -> FittedMap:
        raise NotImplementedError

    def to_sql(
        self,
        columns: Sequence[str] | None = None,
        table: str | Sequence[str] = "",
        *,
        dialect: sql_select.Dialect = "ansi",
    ) -> str:
        """A SELECT of a table's columns under the map, each under its own name; quoted, whatever is in the names.

        Args:
            columns: a name for each feature, in order; None takes the names of the frame that was fitted.
            table: its name, or its parts: ("schema", "table").
            dialect: "ansi", "duckdb", "postgresql", "bigquery", "spark" or "sqlite".

        The columns are cast to double first and the result is double: `transform` of float64, to the bit, in an engine
        that reads numbers and rounds as IEEE 754 says. NULL stays NULL and NaN NaN, clipped or not.

        Raises:
            DataError: names that are not the features', an unknown dialect, or a parameter that is not finite.

        >>> from gammabeta import Affine
        >>> print(Affine([1.5], [2.0]).to_sql(["age"], "people"))
        SELECT
          (CAST("age" AS DOUBLE PRECISION) - 1.5E0) * 2.0E0 + 0.0E0 AS "age"
        FROM "people"
        """
        given = self._fitted_map().checked()
        return sql_select.select(given.columns(columns), given.features, given.limits, table, dialect)

    def to_polars(self, columns: Sequence[str] | None = None) -> list[Any]:
        """polars expressions, one a column: `frame.with_columns(…)` of a DataFrame or a LazyFrame scales them.

        `columns` is as in `to_sql`. The columns become Float64, with the bits of `transform` of float64; null stays
        null, NaN NaN.

        Raises:
            DataError: names that are not the features', or a parameter that is not finite.

        >>> import polars as pl
        >>> from gammabeta import Affine
        >>> pl.DataFrame({"age": [1, 2]}).with_columns(Affine([1.5], [2.0]).to_polars(["age"]))["age"].to_list()
        [-1.0, 1.0]
        """
        given = self._fitted_map().checked()
        return polars_expressions.expressions(given.columns(columns), given.features, given.limits)

    def to_onnx(self, *, dtype: str = "float32") -> Any:
        """An ONNX model, opset 17, from `x` of (rows, features…) to `y` of its type: double inside, rounded once.

        Args:
            dtype: x's and y's, "float32" or "float64".

        A runtime that computes double as IEEE 754 says gives the bits of `transform`. Needs the extra `onnx`.

        Raises:
            DataError: another dtype, or a parameter that is not finite.

        >>> from gammabeta import Affine
        >>> [node.op_type for node in Affine([1.5], [2.0]).to_onnx().graph.node]
        ['Cast', 'Sub', 'Mul', 'Add', 'Cast']
        """
        given = self._fitted_map().checked()
        return onnx_model.model((given.center, given.slope, given.shift), given.limits, dtype)

    def to_c(self, name: str = "scale") -> str:
        """A C99 header with one function, `void name(const double *x, double *y, size_t rows)`; y may be x.

        The constants are hexadecimal, so that no digit is lost. Compiled without contraction (`-ffp-contract=off`, or
        for a processor without fused operations) it gives the bits of `transform` of float64.

        Args:
            name: a C identifier; the features' number is the macro NAME_FEATURES.

        Raises:
            DataError: the name is no identifier, or a parameter is not finite.

        >>> from gammabeta import Affine
        >>> print(Affine([1.5], [2.0]).to_c("scale").splitlines()[10])
        static const double scale_center[SCALE_FEATURES] = {0x1.8000000000000p+0};
        """
        given = self._fitted_map().checked()
        return c_header.header(name, given.features, given.limits)
