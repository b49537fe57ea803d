"""Arrays in HDF5 and netCDF files, by path: "file.h5::/group/name", "file.nc::name", or a file that holds only one.

HDF5 is read with h5py, netCDF with netCDF4, which also reads its classic format. AnnData's `.h5ad` is HDF5:
"cells.h5ad" is its X, "cells.h5ad::layers/counts" a layer. Links and datasets that lead out of an HDF5 file are
refused, since a file may come from anybody.
"""

from pathlib import Path
from typing import Any

from gammabeta.data.formats.array_like import ArrayLikeSource, array_like
from gammabeta.data.formats.cf import decoding
from gammabeta.data.formats.sparse_hdf5 import SparseGroup, is_sparse_group
from gammabeta.data.io.paths import existing, reason, state_of
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError, FileError

HDF5 = {".h5", ".hdf5", ".he5", ".h5ad"}
NETCDF = {".nc", ".nc4", ".cdf"}
_SHOWN = 20  # names of arrays in a message


def is_hdf5(path: Place) -> bool:
    """Whether a place is an HDF5 or netCDF file, or an array in one, by its name."""
    return _split(path)[0].suffix.lower() in HDF5 | NETCDF


def hdf5_at(path: Place, *, decode: bool = True) -> ArrayLikeSource:
    """The array at "file::name", or the only one in a file. decode: whether its attributes are heard.

    Raises:
        FileError: there is no such file or array, it is damaged or at an address, or the library is not installed.
        DataError: the file has several arrays and no name is given, or what is named leads out of the file.
    """
    place, name = _split(path)
    if not isinstance(path, Path):
        raise FileError(f"HDF5 and netCDF files are read from this machine's disks, copy {str(path)!r}")
    existing(place)
    state = state_of(place)
    opened = _netcdf if place.suffix.lower() in NETCDF else _hdf5
    source = opened(place, name, decode)
    source.state, source.path = state, place
    return source


def _split(path: Place) -> tuple[Path, str | None]:
    file, found, name = str(path).partition("::")
    return Path(file), name if found else None


def _hdf5(path: Path, name: str | None, decode: bool) -> ArrayLikeSource:
    try:
        import h5py
    except ImportError:
        raise FileError(f"{str(path)!r} is read with h5py: pip install 'gammabeta[hdf5]'") from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileError(f"{str(path)!r} cannot be read as HDF5: {reason(error)}") from error
    found: list[str] = []

    def note(place: str, item: Any) -> None:
        if (
            isinstance(item, h5py.Dataset)
            and item.dtype.kind in "iuf"
            and item.attrs.get("CLASS") != b"DIMENSION_SCALE"
        ):
            found.append(place)

    file.visititems(note)
    ann_data = path.suffix.lower() == ".h5ad"  # whose matrix is X, and the others in layers
    chosen = "X" if ann_data and name is None else _chosen(path, name, found)
    _refuse_links(file, chosen, path, h5py)
    array = file.get(chosen)
    if isinstance(array, h5py.Group) and is_sparse_group(array):
        return array_like(SparseGroup(array, path), path)
    if not isinstance(array, h5py.Dataset):
        raise FileError(_absent(path, chosen, found))
    if array.external:
        raise DataError(f"the values of {str(path)!r}::{chosen} must be in that file, they are in {array.external}")
    return array_like(array, path, decode=decode)


def _refuse_links(file: Any, name: str, path: Path, h5py: Any) -> None:
    """Refuse a name on whose way a link leads to another file."""
    place = ""
    for part in filter(None, name.split("/")):
        place = f"{place}/{part}"
        link = file.get(place, getlink=True, default=None)
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{place!r} of {str(path)!r} must be in that file, it is a link to {link.filename!r}; open that one"
            )


def _netcdf(path: Path, name: str | None, decode: bool) -> ArrayLikeSource:
    try:
        import netCDF4
    except ImportError:
        raise FileError(f"{str(path)!r} is read with netCDF4: pip install 'gammabeta[netcdf]'") from None
    try:
        file = netCDF4.Dataset(path)
    except (OSError, RuntimeError) as error:
        raise FileError(f"{str(path)!r} cannot be read as netCDF: {reason(error)}") from error
    file.set_auto_maskandscale(False)
    variables = dict(_variables(file, ""))
    bounds = {getattr(variable, "bounds", None) for variable in variables.values()}
    data = [
        place
        for place, variable in variables.items()
        if getattr(variable.dtype, "kind", "O") in "iuf"
        and variable.dimensions != (variable.name,)  # a coordinate
        and variable.name not in bounds
        and variable.ndim
    ]
    chosen = _chosen(path, name, data).strip("/")
    if chosen not in variables:
        raise FileError(_absent(path, chosen, list(variables)))
    variable = variables[chosen]
    attributes = {key: variable.getncattr(key) for key in variable.ncattrs()}
    if getattr(variable.dtype, "itemsize", 1) > 1:  # of single bytes every number is a value
        attributes.setdefault("_FillValue", netCDF4.default_fillvals.get(variable.dtype.str[1:]))
    heard = decoding(attributes, variable.dtype, path) if decode and hasattr(variable.dtype, "kind") else None
    return ArrayLikeSource(variable, path, heard)


def _variables(group: Any, above: str) -> Any:
    yield from ((above + name, variable) for name, variable in group.variables.items())
    for name, inner in group.groups.items():
        yield from _variables(inner, f"{above}{name}/")


def _chosen(path: Path, name: str | None, found: list[str]) -> str:
    """The name of the array to read: what was asked for, or the only one."""
    if name is not None:
        return name
    if len(found) == 1:
        return found[0]
    example = f"{path}::{found[0] if found else 'name'}"
    raise DataError(f"one array is needed, {_listing(path, found)}; say which: {example!r}")


def _absent(path: Path, name: str, found: list[str]) -> str:
    return f"there is no array {name!r} in {str(path)!r}: {_listing(path, found)}"


def _listing(path: Path, found: list[str]) -> str:
    return f"{str(path)!r} has {', '.join(found[:_SHOWN]) or 'none'}{' …' if len(found) > _SHOWN else ''}"
