"""Opening rasters with GDAL: one driver, chosen by what a file holds, and nothing behind the file.

GDAL opens much that is not a picture: lists of other files, addresses on the network, databases.
Here the first bytes say which of a few drivers may open a file, whatever its name. Files that GDAL
would open beside it (overviews, masks) are checked in the same way first. Small XML files beside or
inside of a source are read without entities, so that nothing else is opened for them either.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any
from xml.parsers import expat

from crossview.errors import BadImage, BadImagery
from crossview.views.decode import require_few_scans


def read_elements(
    path: Path, most_bytes: int, kind: str, advice: str = ".\nCorrect or remove it."
) -> Iterator[tuple[str, dict[str, str], str]]:
    """(name, attributes, text) of every element; entities are refused, nothing is fetched.

    Raises :class:`BadImagery` for what is larger than ``most_bytes`` or is not XML. ``kind`` names
    the file and ``advice`` says what to do, in those errors.
    """
    elements: list[tuple[str, dict[str, str], list[str]]] = []
    open_now: list[list[str]] = []

    def start(name: str, values: dict[str, str]) -> None:
        elements.append((name.rpartition(":")[2], values, []))
        open_now.append(elements[-1][2])

    def text(data: str) -> None:
        if open_now:
            open_now[-1].append(data)

    def refuse(*_: object) -> None:
        raise BadImagery(f"{path} declares entities, which {kind} has no use for.")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: open_now.pop()
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = refuse
    try:
        if path.stat().st_size > most_bytes:
            raise BadImagery(f"{path} is too large for {kind} ({path.stat().st_size:,} bytes).")
        parser.Parse(path.read_bytes(), True)
    except (OSError, expat.ExpatError, LookupError, ValueError) as problem:
        raise BadImagery(f"{path} cannot be read as XML ({problem}){advice}") from problem
    for name, values, parts in elements:
        yield name, values, "".join(parts)


CACHE_MB = 64  # GDAL's own cache of decoded blocks; we read whole blocks once
_START_BYTES = 4096
_MOST_AUX_BYTES = 16_000_000  # of an .aux.xml, which GDAL reads into memory
_MOST_VRT_BYTES = 16_000_000
_MOST_DEEP = 8  # lists in lists
_DRIVERS = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JP2OpenJPEG", b"\xff\x4f\xff\x51": "JP2OpenJPEG",
    b"GIF87a": "GIF", b"GIF89a": "GIF",
    b"BM": "BMP",
    b"EHFA_HEADER_TAG": "HFA",
}  # fmt: skip
_READABLE = "GeoTIFF, JPEG 2000, PNG, JPEG, WebP, BMP, GIF and Erdas Imagine"
_BESIDE = (".ovr", ".msk", ".aux")  # GDAL opens these as rasters, by any driver that fits
_NAMES_OTHER_FILES = (
    b"<vrtdataset", b"<gdal_wm", b"<gdaltileindex", b"<ogr", b"<mrf_meta", b"<wms",
    b"<capabilities",
)  # fmt: skip
_OTHER_KINDS = {
    b"%PDF": "a PDF document", b"CDF": "netCDF", b"\x89HDF": "HDF5", b"\x0e\x03\x13\x01": "HDF4",
    b"NITF": "NITF", b"SQLite format 3": "a database", b"PK\x03\x04": "a ZIP archive",
}  # fmt: skip
_SEALED = {
    "GDAL_CACHEMAX": CACHE_MB,
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",  # strict about cut PNG files
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # files beside are found by their exact names
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".no-address-is-read",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_HTTP_TIMEOUT": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "1",
}
# What gdalbuildvrt writes: no kernels, formulae, raw files, warps or options of drivers.
_VRT_ELEMENTS = {
    "VRTDataset", "SRS", "GeoTransform", "Metadata", "MDI", "VRTRasterBand", "NoDataValue",
    "HideNoDataValue", "ColorInterp", "ColorTable", "Entry", "Description", "UnitType", "Offset",
    "Scale", "CategoryNames", "Category", "MaskBand", "SimpleSource", "ComplexSource",
    "AveragedSource", "SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect",
    "NODATA", "UseMaskBand", "ScaleOffset", "ScaleRatio", "BlockXSize", "BlockYSize",
    "OverviewList",
}  # fmt: skip


@contextmanager
def gdal() -> Iterator[None]:
    """GDAL with a small cache, so that memory stays constant, without network and without code."""
    import rasterio

    with rasterio.Env(**_SEALED):
        yield


def open_raster(path: Path, *, allow_vrt: bool = False, **options: str) -> Any:
    """The open dataset of a local file, within :func:`gdal`; ``options`` are the driver's.

    Raises :class:`BadImagery` for kinds that are not read, and for files that name others: a VRT
    unless ``allow_vrt``, and then only of local files in its folder or below.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    driver = _choose_driver(path, allow_vrt=allow_vrt, deep=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path.absolute(), driver=driver, **options)
    try:
        _require_own_overviews(dataset, path)
        if driver == "JPEG":
            _require_few_scans(path, (dataset.width, dataset.height))
    except BaseException:
        dataset.close()
        raise
    return dataset


def _choose_driver(path: Path, *, allow_vrt: bool, deep: int) -> str:
    """The driver that may open a file, once what lies beside it has been checked."""
    if str(path.absolute()).startswith("/vsi"):
        raise BadImagery(f"{path}: paths that begin with /vsi are not read; give a local file.")
    start = _read_start(path)
    driver = _match_driver(start)
    if driver is None and path.suffix.lower() == ".vrt" and b"<VRTDataset" in start:
        if not allow_vrt:
            raise BadImagery(
                f"{path} is a VRT: a list of other files, which may lie anywhere.\n"
                "Give those files themselves; or, if you trust it, --allow-vrt: then files in its "
                "folder are read."
            )
        _check_vrt(path, deep)
        driver = "VRT"
    if driver is None:
        raise BadImagery(
            f"{path} cannot be read as imagery: {_describe_kind(start)}.\n"
            f"Allowed are {_READABLE} files; make one of it first, for example: "
            "gdal_translate IN out.tif"
        )
    _check_beside(path, deep)
    return driver


def _read_start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_START_BYTES)
    except OSError as problem:
        raise BadImagery(f"{path} cannot be read as imagery: {problem.strerror}.") from problem


def _match_driver(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    return next((driver for magic, driver in _DRIVERS.items() if start.startswith(magic)), None)


def _describe_kind(start: bytes) -> str:
    """What a file that is not read is, for its error."""
    if not start:
        return "it is empty"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<vrtdataset" in text:
        return "it is a list of other files (VRT)"
    if b"<svg" in text:
        return "it is a drawing (SVG)"
    if text.startswith((b"<", b"{")):
        return "it is text that names other files or addresses, and those are not followed"
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            return f"it is {kind}"
    return "it may be truncated or of another kind"


def _check_beside(path: Path, deep: int) -> None:
    """Refuse files beside a raster that GDAL would open with it and that are not plain rasters."""
    for ending in _BESIDE:
        for case in (ending, ending.upper()):
            names = [path.with_name(path.name + case)]
            if ending == ".aux" and path.suffix:
                names.append(path.with_suffix(case))
            for beside in names:
                if beside.is_file() and (
                    ending != ".aux" or _match_driver(_read_start(beside)) == "HFA"
                ):
                    _check_companion(beside, path, deep)
    aux = path.with_name(path.name + ".aux.xml")
    if aux.is_file() and aux.stat().st_size > _MOST_AUX_BYTES:
        raise BadImagery(
            f"{aux} is too large for what is kept beside a raster ({aux.stat().st_size:,} bytes; "
            f"at most {_MOST_AUX_BYTES:,}).\nRemove it."
        )


def _check_companion(part: Path, whole: Path, deep: int) -> None:
    """A raster that GDAL opens on behalf of another: it must be what it seems to every driver."""
    import rasterio

    if deep >= _MOST_DEEP:
        raise BadImagery(f"{whole}: its files name each other more than {_MOST_DEEP} deep.")
    lies_in = part.name == whole.name or part.parent == whole.parent
    shown = part.name if lies_in else str(part)
    start = _read_start(part)
    driver = _match_driver(start)
    if driver is None or any(word in start.lower() for word in _NAMES_OTHER_FILES):
        raise BadImagery(
            f"{whole}: {shown} belongs to it and is not a plain raster, so nothing is read.\n"
            "Remove or replace it."
        )
    _choose_driver(part, allow_vrt=False, deep=deep + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with gdal(), rasterio.open(part.absolute(), driver=driver) as dataset:
                _require_own_overviews(dataset, part)
    except rasterio.errors.RasterioError as problem:
        raise BadImagery(
            f"{whole}: {shown} belongs to it and cannot be read ({problem}).\nRemove or replace it."
        ) from problem


def _require_own_overviews(dataset: Any, path: Path) -> None:
    """Refuse smaller copies in a file that the raster, or its .aux.xml, names; before it is read.

    ``:::BASE:::NAME`` lies beside the raster and has been checked.
    """
    named = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    if named is None:
        return
    name = named.removeprefix(":::BASE:::")
    usual = {path.with_suffix(".aux").name, path.name + ".aux", path.name + ".ovr"}
    if named == name or name not in usual:
        raise BadImagery(
            f"{path} names another file for its smaller copies ({named[:100]!r}), which is not "
            f"read.\nRemove {path.name}.aux.xml if there is one, or copy the file with "
            "gdal_translate."
        )


def _require_few_scans(path: Path, size: tuple[int, int]) -> None:
    """Refuse a JPEG of very many passes; of an ordinary one only the start is read."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        try:
            require_few_scans(data, size)
        except BadImage as problem:
            raise BadImagery(f"{path} {problem}") from problem


def _check_vrt(path: Path, deep: int) -> None:
    """Refuse a VRT of anything but plain bands of files in its folder or below."""
    if deep >= _MOST_DEEP:
        raise BadImagery(f"{path}: lists that name lists, more than {_MOST_DEEP} deep.")
    members: dict[Path, None] = {}
    for name, values, text in read_elements(path, _MOST_VRT_BYTES, "a VRT"):
        if name not in _VRT_ELEMENTS or "subClass" in values:
            what = f"{name} {values.get('subClass', '')}".strip()
            raise BadImagery(
                f"{path} holds {what!r}; of a VRT only plain bands of local files are read.\n"
                "Make a GeoTIFF of it, if you trust it: gdal_translate in.vrt out.tif"
            )
        if name == "Metadata" and values.get("domain", "") not in ("", "IMAGE_STRUCTURE"):
            raise BadImagery(
                f"{path} holds metadata for {values['domain'][:40]!r}, which may name other files."
                "\nRemove them."
            )
        if name == "SourceFilename":
            members[_resolve_member(path, values, text)] = None
    for member in members:
        if _match_driver(_read_start(member)) is None and member.suffix.lower() == ".vrt":
            _check_vrt(member, deep + 1)
            _check_beside(member, deep + 1)
        else:
            _check_companion(member, path, deep)


def _resolve_member(path: Path, values: dict[str, str], text: str) -> Path:
    """The file that a VRT names, if it is one in the VRT's folder or below."""
    folder = path.parent.resolve()
    local = values.get("relativeToVRT") == "1" and not Path(text).is_absolute()
    if not local or not text or set(text) & set(":<>\0\n") or ".." in Path(text).parts:
        raise BadImagery(
            f"{path} names {text[:100]!r}; of a VRT only files in its own folder or below are read,"
            ' named from there (relativeToVRT="1").\n'
            "Make it again beside its files: gdalbuildvrt mosaic.vrt *.tif"
        )
    member = path.parent / text
    if not member.resolve().is_relative_to(folder):
        raise BadImagery(f"{path} names {text[:100]!r}, a link that leads out of its folder.")
    if not member.is_file():
        raise BadImagery(f"There is no {member}, which {path.name} names.")
    return member
