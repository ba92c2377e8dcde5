"""A file, of whatever kind, as the pixels of its competition: the way from a name to an array."""

import math
from pathlib import Path

import cv2
import numpy as np

from src.images import decode
from src.images.bands import band_files, joined_bands
from src.images.decode import PNG, SUFFIXES, ImageFault, ReadImage, TooLarge, faults_of, suffix_of
from src.images.frames import frame_of, number_of
from src.images.last_file import LastFile
from src.images.masks import box_region, mask_bytes, what_counts
from src.images.pixel_format import COLOURS, STANDARD, PixelFormat, RawImage, Unfit
from src.images.readers import START, Reader, reader_by_content, reader_of, reader_of_file, split_key
from src.images.regions import BANDS, FRAME, MASK, Region, split_region

DEEP = 65535  # the largest value of 16 bits
OPACITY = 4  # channels of a picture whose last one is its opacity


def read_image(path: Path, pixels: PixelFormat = STANDARD, at_least: int | None = None) -> ReadImage:
    """The pixels of a file, or of one image of a container, (height, width, channels) of `pixels.dtype`.

    at_least: see `decode.decode`. Raises ImageFault.
    """
    name, region = split_region(path)
    if region:
        return _region(path, name, region, pixels, at_least)
    if pixels.as_pictures and _is_picture(path):
        try:
            return decode.read_picture(path, at_least)
        except TooLarge as fault:
            return _mapped(path, _copy_within(path, fault), PixelFormat(), at_least)
    held = _held(path, pixels.channels)
    if isinstance(held, RawImage):
        return _mapped(path, held, pixels, at_least)
    reader = _reader(path, held, pixels)
    if reader is None and pixels.as_pictures:
        return decode.of_bytes(path, held, at_least)
    return _mapped(path, _raw(path, held, reader, pixels.channels), pixels, at_least)


def read_for_both(path: Path, pixels: PixelFormat, one: int, other: int) -> tuple[ReadImage, np.ndarray]:
    """As `read_image` with at_least=one, and the pixels of at_least=other.

    The file is read once, and decoded once where both come at one scale.
    """
    if not pixels.as_pictures or split_region(path)[1]:
        found = read_image(path, pixels, max(one, other))
        return found, found.pixels
    found = read_image(path, pixels, one)
    if found.data.startswith(decode.JPEG):
        scales = {decode.reduction(found.size, at_least) for at_least in (one, other)}
        return found, found.pixels if len(scales) == 1 else decode.of_bytes(path, found.data, other).pixels
    reduced = found.pixels.shape[:2] != found.size
    return found, read_image(path, pixels, other).pixels if reduced else found.pixels


def raw_image(path: Path, channels: int = STANDARD.channels) -> RawImage:
    """The numbers of a file as they are stored, before any rule. Raises ImageFault."""
    name, region = split_region(path)
    if region and region.kind in (FRAME, BANDS):
        return _raw_region(path, name, region, channels)
    if region:
        image = raw_image(Path(name), channels)
        values, size = _cut(path, region, image.values, image.size)
        return image._replace(values=values, data=_identity(path, image.data, region), whole=image.whole and size)
    held = _held(path, channels)
    if isinstance(held, RawImage):
        return held
    return _raw(path, held, reader_of(path) or reader_by_content(held[:START]), channels)


def image_size(path: Path, pixels: PixelFormat = STANDARD, at_least: int | None = None) -> tuple[int, int]:
    """(width, height) of what `read_image` gives, where it is not reduced; of a picture from its header alone.

    at_least: raise where `read_image` finds the image too large to be read with it. Raises ImageFault.
    """
    name, region = split_region(path)
    if region and region.kind == FRAME:  # pages need not be of one size
        return _raw_region(path, name, region, pixels.channels, pixels.as_pictures).size[::-1]
    if region:
        if region.kind == BANDS:  # all are brought to the largest
            return max((image_size(file, pixels) for file in band_files(path)), key=math.prod)
        width, height = image_size(Path(name), pixels)
        top, bottom, left, right = _ends(path, region, (height, width))
        if at_least and width * height > decode.LARGEST:
            read_image(path, pixels, at_least)
        return right - left, bottom - top
    if _is_picture(path):
        try:
            return decode.image_size(path, at_least)
        except TooLarge as fault:
            found = _copy_within(path, fault)
    else:
        found = raw_image(path, pixels.channels)
    if at_least:
        _check_reduced(path, found.values.shape[:2], found.size, at_least)
    return found.size[::-1]


def names_window(path: Path) -> bool:
    """Whether a file says which of its values are black and white; by its header. Raises ImageFault."""
    name, key = split_key(path)
    if key is not None:
        return raw_image(path).window is not None
    file = Path(name)
    with faults_of(path):
        reader = reader_of_file(file)
    return reader is not None and reader.window(file) is not None


def identifying_bytes(path: Path) -> bytes:
    """What tells this image from another: the bytes of its file, or those that a container has under its key."""
    name, region = split_region(path)
    if region and region.kind == BANDS:
        return b"".join(identifying_bytes(file) for file in band_files(path))
    held = _held(Path(name), STANDARD.channels)
    data = held if isinstance(held, bytes) else held.data
    return _identity(path, data, region) if region else data


def looks_like_image(path: Path) -> bool:
    """Whether `path` is worth handing to `read_image`: by its extension, else by its first bytes."""
    if decode.looks_like_image(path):
        return True
    if path.name.startswith("._") or not path.is_file():
        return False
    own = reader_of(path)
    if own:
        return not own.holds_many(path)
    with path.open("rb") as file:
        found = reader_by_content(file.read(START))
    return found is not None and not found.holds_many(path)


def _identity(path: Path, data: bytes, region: Region) -> bytes:
    if region.kind == MASK:  # the same picture under the same mask is the same, whatever the mask's file is called
        return data + f"/{MASK}={what_counts(region)}".encode() + mask_bytes(path, region)
    return data + f"/{region.kind}={region.text}".encode()


def _ends(path: Path, region: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    try:
        box = box_region(path, region, size) if region.kind == MASK else region
        return box.ends(*size)
    except ValueError as error:
        raise ImageFault(path, str(error), "correct its numbers or mask, or take its row out of the table") from None


def _cut(path: Path, region: Region, values: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of an image, which is perhaps reduced, and (height, width) of the part where it is not.

    size: (height, width) of the whole, in whose pixels the part is named.
    """
    top, bottom, left, right = _ends(path, region, size)
    (height, width), (rows, columns) = size, values.shape[:2]
    down = slice(top * rows // height, -(-bottom * rows // height))
    across = slice(left * columns // width, -(-right * columns // width))
    return np.ascontiguousarray(values[down, across]), (bottom - top, right - left)


def _region(path: Path, name: str, region: Region, pixels: PixelFormat, at_least: int | None) -> ReadImage:
    """A part of a picture, or one of its frames."""
    if region.kind not in (FRAME, BANDS):
        return _part(path, region, _last_whole(path, name, pixels), at_least)
    form = PixelFormat() if pixels.as_pictures else pixels
    return _mapped(path, _raw_region(path, name, region, pixels.channels, pixels.as_pictures), form, at_least)


def _raw_region(path: Path, name: str, region: Region, channels: int, as_pictures: bool = False) -> RawImage:
    """A frame, or files together, before any rule."""
    if region.kind == FRAME:
        raw = frame_of(path, Path(name), number_of(path, region), channels, as_pictures)
        return raw._replace(data=_identity(path, raw.data, region))
    return joined_bands(path, band_files(path), raw_image)


def _part(path: Path, region: Region, whole: ReadImage, at_least: int | None) -> ReadImage:
    cut, size = _cut(path, region, whole.pixels, whole.size)
    if whole.pixels.shape[:2] != whole.size:
        _check_reduced(path, cut.shape[:2], size, at_least)
    return ReadImage(cut, size, _identity(path, whole.data, region))


def _check_reduced(path: Path, held: tuple[int, int], size: tuple[int, int], at_least: int | None) -> None:
    """Raises TooLarge where an image was reduced to less than is asked for."""
    if held != size and (at_least is None or min(held) < at_least):
        reason = f"its picture is too large to be read but reduced, and {size[1]} x {size[0]} pixels become"
        remedy = "make the picture smaller, or write its parts as files"
        raise TooLarge(path, f"{reason} {held[1]} x {held[0]}", remedy, at_least=min(held))


_last = LastFile()  # a picture of which boxes are asked for


def _last_whole(path: Path, name: str, pixels: PixelFormat) -> ReadImage:
    """A picture of which parts are asked for. Raises ImageFault for the part."""
    file = split_key(split_region(name)[0])[0]  # a tile of a box has a box as its picture
    with faults_of(path):
        try:
            return _last.of(file, (name, pixels), lambda: _whole(Path(name), pixels))
        except ImageFault as fault:
            raise ImageFault(path, fault.reason, fault.remedy) from None


def _whole(path: Path, pixels: PixelFormat) -> ReadImage:
    """All of a picture; as little reduced as can be read where it is too large."""
    try:
        return read_image(path, pixels)
    except TooLarge as fault:
        if fault.at_least is None:
            raise
        return read_image(path, pixels, fault.at_least)


def _copy_within(path: Path, fault: TooLarge) -> RawImage:
    """What stands for a picture that is too large: a TIFF may hold smaller copies. Raises `fault` for other kinds."""
    data = path.read_bytes()
    reader = reader_by_content(data[:START])
    if reader is None or not reader.picture:
        raise fault
    return _raw(path, data, reader, COLOURS)


def _is_picture(path: Path) -> bool:
    """Whether the name tells a picture, which src/images/decode.py reads; else the content has the word."""
    return suffix_of(str(path)) in SUFFIXES and split_key(path)[1] is None


def _held(path: Path, channels: int) -> bytes | RawImage:
    """The bytes of a file, or what a container has under a key. Raises ImageFault."""
    name, key = split_key(path)
    file = Path(name)
    try:
        with faults_of(file):
            if key is None:
                return file.read_bytes()
            return reader_of(file).entry(file, key, channels)
    except ImageFault as fault:
        raise ImageFault(path, fault.reason, fault.remedy) from None


def _reader(path: Path, data: bytes, pixels: PixelFormat) -> Reader | None:
    """None for a picture."""
    own = reader_of(path) if split_key(path)[1] is None else None
    found = own or reader_by_content(data[:START])
    return None if found and found.picture and pixels.as_pictures else found


def _raw(path: Path, data: bytes, reader: Reader | None, channels: int) -> RawImage:
    if not data:
        raise ImageFault(path, "the file is empty (0 bytes)")
    with faults_of(path):
        return reader.read(path, data, channels) if reader else _of_picture(path, data)


def _mapped(path: Path, raw: RawImage, pixels: PixelFormat, at_least: int | None) -> ReadImage:
    _check_reduced(path, raw.values.shape[:2], raw.size, at_least)
    try:
        made = pixels.pixels(raw)
    except Unfit as error:
        raise ImageFault(path, str(error), "correct the card or the file, or take its row out of the table") from None
    return ReadImage(np.require(made, requirements=["C", "W"]), raw.size, raw.data)


def _of_picture(path: Path, data: bytes) -> RawImage:
    """A picture at its own depth: PNG keeps 16 bits, all others have 8."""
    deep = decode.deep_png(path, data) if data.startswith(PNG) else None
    if deep is None:
        try:
            return RawImage(decode.of_bytes(path, data).pixels, data, 0, 255)
        except TooLarge as fault:
            if fault.at_least is None:
                raise
            image = decode.of_bytes(path, data, fault.at_least)
            return RawImage(image.pixels, data, 0, 255, whole=image.size)
    values = deep[:, :, None] if deep.ndim == 2 else deep
    if values.shape[2] == OPACITY:  # laid over white, as of 8 bits
        values = cv2.cvtColor(values, cv2.COLOR_BGRA2RGBA)
        opaque = values[:, :, 3:].astype(np.float64) / DEEP
        values = np.rint(values[:, :, :3] * opaque + DEEP * (1 - opaque)).astype(np.uint16)
    elif values.shape[2] > 1:
        values = cv2.cvtColor(values, cv2.COLOR_BGR2RGB)
    return RawImage(values, data, 0, DEEP)
