"""The first pass over files that are arrays: each is one more piece of the same features."""

from gammabeta import axes
from gammabeta.data.core.options import ProgressFn, ignore_progress
from gammabeta.data.dataset.discovery import DataSet, Part
from gammabeta.data.dataset.measure import AT_ONCE, size_of
from gammabeta.data.formats.array import ArraySource
from gammabeta.data.formats.registry import open_source
from gammabeta.data.io.parallel import ItemProgressFn, map_concurrently
from gammabeta.data.passes.measure_array import of_features
from gammabeta.errors import DataError, KindError
from gammabeta.statistics import Extrema, Moments

Found = tuple[Moments, Extrema]


def measure_arrays(found: DataSet, axis: axes.Axis, progress: ProgressFn = ignore_progress) -> Found:
    """The statistics of the arrays of all files together, in the features' shape.

    axis: the axes that are reduced in each. Along these the arrays may have any lengths, and the features, all else,
    must have one shape.

    Raises:
        KindError: a file holds a table.
        DataError: the features of two files have other shapes; an axis that an array does not have; ±inf.
        FileError: a file cannot be read.
    """
    sizes = [size_of(part) for part in found.parts]

    def read(part: Part, report_progress: ItemProgressFn) -> Found:
        source = open_source(part.path, axis, read=found.read)
        if not isinstance(source, ArraySource):
            raise KindError(f"axis goes with arrays, {part.name!r} of {found.where!r} is a table; leave axis out")
        return of_features(source, lambda done, size: report_progress(done))[1:]

    total = sum(sizes)
    results = map_concurrently(read, found.parts, sizes, AT_ONCE, lambda n: progress(n, total))
    first, (moments, extrema) = next(results)
    for part, (m, e) in results:
        if m.shape != moments.shape:
            raise DataError(
                f"the arrays must have features of one shape beside axis {axis!r}, those of {first.name!r} are of "
                f"{moments.shape}, of {part.name!r} {m.shape}"
            )
        moments, extrema = moments + m, extrema + e
    return moments, extrema
