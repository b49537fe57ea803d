"""The base class of writers, and the schema of what they write."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable

import pyarrow as pa

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.source import Chunk


class Sink(ABC):
    """A writer of one file, to which chunks are given in order."""

    @abstractmethod
    def write(self, chunk: Chunk) -> None:
        """Add a chunk, whose memory the sink may hold until it is closed."""

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""

    @abstractmethod
    def abort(self) -> None:
        """Close the unfinished file; never raises."""


def scaled_schema(schema: pa.Schema, scaled: Iterable[str]) -> pa.Schema:
    """The schema of a file whose columns `scaled` have been scaled: types, and what pandas wrote about them."""
    changed = {}
    for name in scaled:
        kind = schema.field(name).type
        if arrow_numpy.scaled_type(kind) != kind:
            changed[name] = arrow_numpy.scaled_type(kind)
    fields = [field.with_type(changed.get(field.name, field.type)) for field in schema]
    return pa.schema(fields, _pandas_metadata(schema.metadata, changed))


def _pandas_metadata(metadata: dict[bytes, bytes] | None, changed: Iterable[str]) -> dict[bytes, bytes] | None:
    """A schema's metadata with the changed columns declared float64 in pandas' part."""
    if not metadata or b"pandas" not in metadata or not changed:
        return metadata
    try:
        document = json.loads(metadata[b"pandas"])
        for column in document["columns"]:
            if column["field_name"] in changed:
                # pandas writes its nullable types with a capital: Int64 becomes Float64, int64 float64
                nullable = column["numpy_type"][:1].isupper()
                column |= {
                    "pandas_type": "float64",
                    "numpy_type": "Float64" if nullable else "float64",
                    "metadata": None,
                }
    except (ValueError, KeyError, TypeError, AttributeError):
        return metadata
    return metadata | {b"pandas": json.dumps(document).encode()}
