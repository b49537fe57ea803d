"""Names of columns as the command line takes them: separated by commas, in quotes where they hold one."""

from gammabeta.errors import DataError


def split_names(given: list[str] | None) -> list[str] | None:
    """A list of names separated by commas; quotes keep a comma in a name: '"a,b",c'."""
    return [name.strip(" \t") for one in given for name in _parted(one) if name.strip(" \t")] if given else None


def _parted(names: str) -> list[str]:
    import csv

    try:
        return next(csv.reader([names], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise DataError(
            "names must be separated by commas, and one that holds a comma, a quote or the end of a line must stand in "
            f"double quotes, got {names!r}: {error}"
        ) from None
