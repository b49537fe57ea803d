"""Affine maps: what a normalization does with its statistic.

Standardizing, min-max scaling, a batch norm in evaluation and a linear layer's diagonal are all `Affine`. Affine maps
compose into one affine map, and one with no zero slope has an affine inverse.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta import axes
from gammabeta._util import charts, html
from gammabeta._util.immutable import Immutable, frozen, short
from gammabeta.backends import array_ops, arrays, masked
from gammabeta.backends.array_ops import ArrayOps
from gammabeta.errors import DataError, KindError
from gammabeta.export.fitted_map import Exports, FittedMap
from gammabeta.kernels import affine as kernel
from gammabeta.kernels import affine_extremes, rounding

if TYPE_CHECKING:
    from gammabeta.statistics import Extrema, Moments

Floats = NDArray[np.float64]

_EPS = float(np.finfo(np.float64).eps)
_FAR = 2.0**1000
_TINY = float(np.finfo(np.float64).tiny)
_SAFE = 2.0**969  # what can be added to any float64 and does not overflow


class Affine(Immutable, Exports):
    """y = (x − center) · slope + shift, in float64, rounded once to the type of the result.

    Args:
        center, slope, shift: float64, of one shape or broadcast to one: that of the features.

    >>> import numpy as np
    >>> a = Affine(center=[1.0, 10.0], slope=[2.0, 0.5], shift=[0.0, 1.0])
    >>> a(np.array([[1.0, 10.0], [2.0, 12.0]]))
    array([[0., 1.],
           [2., 2.]])
    >>> a.then(a.inverse()) == Affine([1.0, 10.0], 1.0, [1.0, 10.0])
    True
    """

    center: Floats
    slope: Floats
    shift: Floats

    # Of which features the slope is none that float64 holds, and x₀, x₁, y₀, y₁ of each: what goes to what
    _ends: tuple[NDArray[Any], ...] | None = None

    def __init__(self, center: ArrayLike, slope: ArrayLike, shift: ArrayLike = 0.0) -> None:
        for name, value in (("center", center), ("slope", slope), ("shift", shift)):
            masked.refuse(name, value)
        given = [np.asarray(p) for p in (center, slope, shift)]
        if any(p.dtype.kind not in "biuf" for p in given):
            raise KindError(f"center, slope and shift must be real numbers, got {[str(p.dtype) for p in given]}")
        shapes = [p.shape for p in given]
        try:
            shape = np.broadcast_shapes(*set(shapes))
        except ValueError:
            raise DataError(f"center, slope and shift must have one shape or broadcast to one, got {shapes}") from None
        for name, p in zip(("center", "slope", "shift"), given, strict=True):
            values = np.empty(shape)
            values[...] = p
            self.__dict__[name] = frozen(values, shape)

    @classmethod
    def standard(cls, m: "Moments", *, with_mean: bool = True, with_std: bool = True, ddof: float = 0) -> Self:
        """Standardization: (x − mean) / std, where std is `standard_scale(m, ddof)`.

        Args:
            m: the `Moments` of the data.
            with_mean, with_std: whether to subtract the mean, and to divide by the standard deviation.
            ddof: what the variance's divisor is less than the count.

        Raises:
            KindError: m is something else, such as the data themselves.
        """
        if not hasattr(m, "with_ddof"):
            raise KindError(f"standard takes Moments, got {_kind(m)}; call Affine.standard(Moments.of(x))")
        slope = 1 / standard_scale(m, ddof) if with_std else np.ones(m.shape)
        return cls._of(m.mean if with_mean else np.zeros(m.shape), slope, np.zeros(m.shape))

    @classmethod
    def _of(cls, *parameters: Floats) -> Self:
        """A map with three float64 arrays of one shape as its parameters, taken over without a check."""
        made = cls.__new__(cls)
        for name, values in zip(("center", "slope", "shift"), parameters, strict=True):
            made.__dict__[name] = frozen(np.asarray(values), values.shape)
        return made

    def _with_ends(self, *ends: NDArray[Any]) -> Self:
        """This map, but for the features of which `ends` says what goes to what."""
        self.__dict__["_ends"] = tuple(frozen(np.array(end), self.shape) for end in ends)
        return self

    @property
    def _arrays(self) -> tuple[NDArray[Any], ...]:
        """All that the map goes by, of the features' shape; `_of_arrays` makes it again of these."""
        return self.center, self.slope, self.shift, *(self._ends or ())

    @classmethod
    def _of_arrays(cls, *arrays: NDArray[Any]) -> Self:
        made = cls(*arrays[:3])
        return made._with_ends(*arrays[3:]) if arrays[3:] and arrays[3].any() else made

    @classmethod
    def minmax(cls, e: "Extrema", feature_range: tuple[float, float] = (0, 1)) -> Self:
        """Min-max scaling: min goes to feature_range[0] and max to feature_range[1].

        Where a range is wider than float64, or float64 does not hold the slope, these ends go there to the bit.

        Args:
            e: the `Extrema` of the data.
            feature_range: the range to map into.

        Raises:
            KindError: e is something else, such as `Moments` or the data themselves.
            DataError: the range does not rise, or an end is not finite.
        """
        if callable(getattr(e, "max", print)):  # an array has a method of that name
            raise KindError(f"minmax takes Extrema, got {_kind(e)}; call Affine.minmax(Extrema.of(x))")
        low, high = map(float, feature_range)
        if not low < high:
            raise DataError(f"feature_range must rise from its minimum to its maximum, got {feature_range}")
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(f"feature_range must be finite, got {feature_range}")
        width, half_range = minmax_scale(e), high / 2 - low / 2
        with np.errstate(over="ignore", invalid="ignore"):
            wide = np.isinf(width) & np.isfinite(e.max) & np.isfinite(e.min)  # than float64
            half = np.where(wide, e.max / 2 - e.min / 2, width / 2)
            slope = half_range / half if np.isinf(high - low) else (high - low) / width
            slope = np.where(wide, half_range / half, slope)
            far = wide | np.isinf(high - low) | np.isinf(slope) | (slope < _TINY)
            if not far.any():
                return cls(e.min, slope, low)
            top = np.where(width == e.max - e.min, e.max, e.min + width)
        # by the middle, where what is wide has its ends beyond float64
        made = cls(np.where(wide, e.min / 2 + e.max / 2, e.min), slope, np.where(wide, low / 2 + high / 2, low))
        ends = e.min, top, np.full(e.shape, low), np.full(e.shape, high)
        return made._with_ends(np.asarray(far), *ends)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the features."""
        return self.center.shape

    def __call__(self, x: Any, out: Any = None, *, axis: axes.Axis | None = None) -> Any:
        """The image of x.

        Args:
            x: real numbers, of any shape, strides and byte order. A tensor is mapped where it lies; where it is traced
                or a gradient follows it, by its framework's own operations, in float64 too, which the gradient goes
                through: under `jax.jit`, `vmap` and `grad`, `tf.function`, `torch.compile`, `torch.func`, export.
            out: where to write, of x's shape and of a floating type; may be x itself. None for tensors in a graph.
            axis: the axes along which the parameters do not vary: the reduced ones of the statistic. Without it,
                parameters broadcast against x as NumPy's rules say.

        Returns:
            `out`, or a new array of x's kind, of x's type if that is a floating one and of float64 if not (in JAX
            float32 where it has no float64); masked where x is.

        Raises:
            DataError: the features of x are not those of the map, or `out` cannot take the result.
            KindError: x is not of real numbers, or `out` not of a floating type.
        """
        space = array_ops.in_graph(x)
        if space is not None:
            if out is not None:
                raise KindError(
                    f"out must be None for {arrays.kind(x)}'s tensors in a graph: assign the result instead"
                )
            return self._in_graph(space, x, axis)
        image = self._image(x, out, axis=axis)[0]
        return arrays.like(x, image) if out is None and arrays.is_tensor(x) and type(image) is np.ndarray else image

    def _in_graph(self, space: ArrayOps, x: Any, axis: axes.Axis | None) -> Any:
        """The image of x by the framework's own operations."""
        self.refuse_extremes("a framework's operations")
        x = space.as_tensor(x)
        if getattr(x.shape, "rank", 0) is None:
            raise DataError("x must have a known number of axes, got a tensor of unknown rank: call x.set_shape")
        shape = space.shape(x)
        constant_axes = self._constant_axes(shape, axis)
        own = [1 if i in constant_axes else n for i, n in enumerate(self._full_shape(shape, axis))]
        return space.affine(x, (self.center.reshape(own), self.slope.reshape(own), self.shift.reshape(own)))

    def _full_shape(self, shape: tuple[int | None, ...], axis: axes.Axis | None) -> tuple[int, ...]:
        """The parameters' shape with as many axes as the data's."""
        if axis is None:
            return (1,) * (len(shape) - len(self.shape)) + self.shape
        lengths = iter(self.shape)
        return tuple(next(lengths) if i in axes.feature_axes(axis, len(shape)) else 1 for i in range(len(shape)))

    def _image(self, x: Any, out: Any = None, *, axis: axes.Axis | None = None) -> tuple[Any, int]:
        """The image of x, as `__call__` gives it, and the number of infinite values of x, counted in the same sweep."""
        parameters = self.center.reshape(-1), self.slope.reshape(-1), self.shift.reshape(-1)
        place = arrays.elsewhere(x)
        if place is not None:
            self.refuse_extremes("kernels of a GPU")
            mapped: tuple[Any, int] = place.image(x, parameters, self._constant_axes(tuple(x.shape), axis), out)
            return mapped
        x = masked.read(x)
        if masked.is_masked(x):
            image, infinite = self._image(masked.filled(x), out, axis=axis)
            return masked.like(x, image), infinite
        array = np.asarray(arrays.to_numpy(arrays.detached(x)))  # in a graph it would not be here
        if not (array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"):
            raise KindError(f"an affine map takes real numbers, got dtype {array.dtype}")
        reduced_axes = self._constant_axes(array.shape, axis)
        if out is None:
            floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
            out = np.empty_like(array, array.dtype.newbyteorder("=") if floating else np.float64, subok=False)
        elif not isinstance(out, np.ndarray) or not (out.dtype.kind == "f" or out.dtype.name == "bfloat16"):
            raise KindError(f"out must be a NumPy array of a floating type, got {getattr(out, 'dtype', type(out))}")
        elif out.shape != array.shape or not out.flags.writeable:
            raise DataError(f"out must be writable and of shape {array.shape}, got {out.shape}, {out.flags.writeable}")
        elif np.may_share_memory(out, array) and (out.strides, out.ctypes.data) != (array.strides, array.ctypes.data):
            array = array.copy()
        if self._extreme is None:
            return out, kernel.apply(array, out, reduced_axes, parameters)
        order = (*(i for i in range(array.ndim) if i not in reduced_axes), *reduced_axes)
        features = self._extreme.reshape([array.shape[i] for i in order[: array.ndim - len(reduced_axes)]])
        given = array.transpose(order)[features]  # before it is written over
        some = np.flatnonzero(self._extreme)
        ends = self._ends and tuple(end.reshape(-1)[some] for end in self._ends)
        images = affine_extremes.image(given, tuple(p[some] for p in parameters), ends)
        infinite = kernel.apply(array, out, reduced_axes, parameters)
        with np.errstate(over="ignore"):
            out.transpose(order)[features] = images
        return out, infinite

    @cached_property
    def _extreme(self) -> NDArray[np.bool_] | None:
        """Which features, flat, are mapped apart since a difference or product could overflow; None if none are."""
        center, shift = self.center.reshape(-1), self.shift.reshape(-1)
        if self._ends is None and np.vdot(center, center) + np.vdot(shift, shift) < np.inf:
            return None
        large = (np.abs(center) > _SAFE) | (np.abs(shift) > _SAFE)
        some = large if self._ends is None else large | self._ends[0].reshape(-1)
        return some if some.any() else None

    def _constant_axes(self, shape: tuple[int | None, ...], axis: axes.Axis | None) -> tuple[int, ...]:
        """The axes of data of `shape`, None in it where a traced length is not known, that share their parameters."""
        if axis is not None:
            features = tuple(shape[i] for i in axes.feature_axes(axis, len(shape)))
            known = tuple(p if n is None else n for p, n in zip(self.shape, features, strict=False))
            if len(features) != len(self.shape) or known != self.shape:
                raise DataError(f"x must have features {self.shape} beside axis {axis}, got {features}")
            return axes.reduced(axis, len(shape))
        missing = len(shape) - len(self.shape)
        full = (1,) * missing + self.shape
        if missing < 0 or any(p != 1 and n is not None and p != n for p, n in zip(full, shape, strict=True)):
            raise DataError(f"x must have shape (…, {', '.join(map(str, self.shape))}), got {shape}; or name its axis")
        return tuple(i for i, p in enumerate(full) if p == 1)

    def refuse_extremes(self, whose: str) -> None:
        """Raise `DataError` if plain arithmetic, whose that is, would overflow on the way to the image."""
        if self._extreme is not None:
            at = int(np.flatnonzero(self._extreme)[0])
            raise DataError(
                f"the map must stay within float64 in {whose}, feature {at} is too near its ends; map NumPy's arrays, "
                "or divide the data by a large number first"
            )

    def _fitted_map(self) -> FittedMap:
        self.refuse_extremes("what it is exported to")
        return FittedMap(self.center, self.slope, self.shift)

    def inverse(self) -> "Affine":
        """The map back: y ↦ (y − shift) / slope + center; where slope is 0, what was lost stays so and 1 divides."""
        with np.errstate(over="ignore"):
            slope = 1 / np.where(self.slope == 0, 1.0, self.slope)  # infinite for what goes beyond float64
        back = Affine(self.shift, slope, self.center)
        if self._ends is None:
            return back
        of, x0, x1, y0, y1 = self._ends
        return back._with_ends(of, y0, y1, x0, x1)

    def then(self, other: "Affine") -> "Affine":
        """This map and then the other, as one map."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            slope = self.slope * other.slope
            shift = (self.shift - other.center) * other.slope + other.shift
            quarters = (self.shift / 4 - other.center / 4) * other.slope + other.shift / 4
            made = Affine(self.center, slope, np.where(np.isfinite(shift), shift, quarters * 4))
        if self._ends is not None:
            of, x0, x1, *ends = self._ends
            of = of if other._ends is None else of | other._ends[0]
            y0, y1 = map(other, ends)
        elif other._ends is not None:
            of, *starts, y0, y1 = other._ends
            x0, x1 = map(self.inverse(), starts)
        else:
            return made
        return made._with_ends(*(np.broadcast_to(end, made.shape) for end in (of, x0, x1, y0, y1)))

    def with_row(self, other: "Affine") -> "Affine":
        """These maps (n, k) and after them, as row n, another of k features."""
        filled = (
            a._arrays if a._ends is not None else (*a._arrays, np.zeros(a.shape, bool), *(np.zeros(a.shape),) * 4)
            for a in (self, other)
        )
        return Affine._of_arrays(*map(np.vstack, zip(*filled, strict=True)))

    def __getitem__(self, index: Any) -> "Affine":
        """The map of some features, chosen as NumPy would choose."""
        return Affine._of_arrays(*(p[index] for p in self._arrays))

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        return self.shape, *((p + 0.0).tobytes() for p in self._arrays)

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Affine) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Affine._of_arrays, self._arrays

    def __repr__(self) -> str:
        return f"Affine(center={short(self.center)}, slope={short(self.slope)}, shift={short(self.shift)})"

    def _repr_html_(self) -> str:
        parameters = {"center": self.center, "slope": self.slope, "shift": self.shift}
        return html.features("y = (x − center) · slope + shift", self.shape, parameters)

    def plot(self) -> Any:
        """An Altair chart of each feature's line, three to both sides of `shift`; of the first 50.

        Raises:
            DataError: Altair is not installed.
        """
        return charts.lines(self.center, self.slope, self.shift)


def _kind(given: Any) -> str:
    """A value's type, as messages name it."""
    package = type(given).__module__.partition(".")[0]
    return type(given).__name__ if package in ("builtins", "gammabeta") else f"{package}'s {type(given).__name__}"


def standard_scale(m: "Moments", ddof: float = 0) -> Floats:
    """The divisor of standardization, float64: `m.with_ddof(ddof).std`, and 1 for constant features."""
    return _divisors(m, m.std if ddof == 0 else m.with_ddof(ddof).std)


def constant(m: "Moments") -> NDArray[np.bool_]:
    """Which features are constant: those that scikit-learn takes for it (`_is_constant_feature`), up to 16,384 rows.

    They have a population variance up to n·eps·var + (n·mean·eps)². There it bounds the error of the computed variance;
    here, where that is exact, it says that a spread so small beside the mean is the rounding of the values themselves.
    That does not grow with the rows: n stays at 2¹⁴, and the deviation at 2⁻³⁸ of the mean, 6 ms of a Unix time. By
    scikit-learn's bound an hour of timestamps is constant once there are 10¹⁰ of them.
    """
    return np.equal(_divisors(m, np.full(m.shape, np.inf)), 1)


def _divisors(m: "Moments", deviation: Floats) -> Floats:
    """`deviation`, and 1 where a feature is constant."""
    mean, std, out = m.mean, m.std, np.empty(m.shape)
    far = np.abs(mean) > _FAR
    if far.any():  # n · mean could overflow: mean and deviation are compared in smaller units, which changes no digit
        mean, std = (np.where(far, values * 2.0**-64, values) for values in (mean, std))
    rounding.divisors(m.count, mean, m.var, std, deviation, out)
    return out


def minmax_scale(e: "Extrema") -> Floats:
    """The divisor of min-max scaling, float64: max − min, and 1 where that is below 10 eps, scikit-learn's rule."""
    with np.errstate(over="ignore", invalid="ignore"):
        width = e.max - e.min
    return np.where(width < 10 * _EPS, 1.0, width)
