"""Every error this library raises on purpose is a `GammabetaError`, and also the built-in error that a caller expects.

    GammabetaError
    ├── DataError (ValueError)     values or a shape that the operation cannot take
    ├── KindError (TypeError)      a type or dtype that the operation cannot take
    ├── StateError (ValueError)    saved or combined statistics that cannot be what they claim
    └── FileError (OSError)        a file that cannot be read or written

Each message says what must hold, what came, and what to do.
"""


class GammabetaError(Exception):
    """The root of the tree."""


class DataError(GammabetaError, ValueError):
    """Values or a shape that the operation cannot take."""


class KindError(GammabetaError, TypeError):
    """A type or dtype that the operation cannot take."""


class StateError(GammabetaError, ValueError):
    """Saved or combined statistics that cannot be what they claim."""


class FileError(GammabetaError, OSError):
    """A file that cannot be read or written."""
