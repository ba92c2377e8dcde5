"""The one decoder of the project: a file becomes HWC uint8 RGB, upright, whole, or an ImageFault says why not.

Ordinary JPEG and PNG go through OpenCV, from memory: what it reads by name is not checked for truncation, what it
reads from memory is. Kinds that OpenCV gets wrong (alpha, CMYK) or reads loosely go through Pillow, which is strict.
"""

import contextlib
import functools
import importlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from src.core.errors import Problem

ORIENTATION = 0x0112


def orientation(exif: bytes) -> int:
    """EXIF's orientation tag: 1 is upright, 5 to 8 swap width and height. 1 where there is none that can be read."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(ORIENTATION)
    except Exception:  # broken EXIF is common, Pillow raises anything then, and the picture is whole without it
        return 1
    return value if value in range(1, 9) else 1


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """`image` (height, width, channels), stored with this `orientation`, as it is meant to be seen."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    rows, columns = -1 if orientation in (3, 4, 7, 8) else 1, -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(image[::rows, ::columns])


# Raise it whenever the same file would come out with other pixels: caches made by another version then don't count.
VERSION = 1

# Named one by one, so that no file reaches Pillow's rarer readers (EPS, for one, runs an interpreter).
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif")
SUFFIXES += (".ppm", ".pgm", ".pbm", ".jp2", ".j2k", ".avif")
# The photos of telephones. Their codec needs a library that is no requirement: its own code is BSD-3, but its wheels
# hold others under the LGPL (pi-heif) or, to write files too, the GPL (pillow-heif). Either reads alike.
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
HEIC_LIBRARIES = ("pillow_heif", "pi_heif")
HEIC_REMEDY = "pip install pillow-heif (or pi-heif), or convert them to JPEG or PNG"
SUFFIXES += HEIC_SUFFIXES
# Pillow's own guard against small files that unfold into huge images; here it holds for OpenCV too.
LARGEST = 2 * Image.MAX_IMAGE_PIXELS
INKS = 4  # components of a JPEG for print

LFS = b"version https://git-lfs"  # how a pointer begins that stands in place of a file kept by Git LFS
LFS_REMEDY = "fetch the files themselves with git lfs pull, then give this command again"
JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
# Files in boxes name their brands; where the first is common to both kinds, the others behind it tell.
AVIF_BRANDS = (b"avif", b"avis")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc")
# Rotation is done here, so that one rule holds whichever library decodes.
RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# GRAYSCALE is the name of the bare factor: IMREAD_REDUCED_COLOR_* carries the BGR bit, which excludes RGB.
REDUCED = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}

# What is wrong with an image is said once, by ImageFault.
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageFault(Problem):
    """One image file that can not be used. `reason` is the short form for lists; the text adds path and remedy."""

    code = "bad-image"

    def __init__(
        self, path: Path, reason: str, remedy: str = "copy or download it again, or take its row out of the table"
    ) -> None:
        super().__init__(f"{path}: {reason}. Remedy: {remedy}")
        self.path, self.reason, self.remedy = path, reason, remedy

    def __reduce__(self) -> tuple:
        # Exceptions are pickled by their text alone, which would not survive the way home from a worker process.
        return type(self), (self.path, self.reason, self.remedy)


class TooLarge(ImageFault):
    """An image of more pixels than are read. at_least: of the short side, with which it is read reduced; None for a
    kind that cannot be."""

    def __init__(self, path: Path, reason: str, remedy: str = "make it smaller", at_least: int | None = None) -> None:
        super().__init__(path, reason, remedy)
        self.at_least = at_least

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.reason, self.remedy, self.at_least)


class LfsPointer(ImageFault):
    """What Git LFS leaves where it was not asked for the file itself."""

    code = "git-lfs-pointer"


def is_lfs_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(LFS)) == LFS


def suffix_of(name: str) -> str:
    """The extension of a file's name in small letters. What a downloader kept of a link is no part: .jpg?w=300."""
    name = name.rpartition("/")[2]
    plain, _, query = name.partition("?")
    found = f".{plain.rpartition('.')[2].lower()}" if "." in plain[1:] else ""
    return found if not query or found in SUFFIXES else Path(name).suffix.lower()


@functools.cache
def reads_heic() -> bool:
    """Whether a library for HEIC is installed; it is imported only here, where such a file turns up."""
    for library in HEIC_LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library).register_heif_opener()
            return True
    return False


def decode(path: Path, at_least: int | None = None) -> np.ndarray:
    """Read the image file `path` as an array (height, width, 3) of uint8 RGB.

    - The content decides, never the extension; EXIF rotation is applied; of several frames the first is taken.
    - Alpha is laid over white: what lies under transparent pixels is arbitrary, and white is what viewers and web
      pages show there.
    - Of 16-bit pixels the high byte is kept: a fixed rule, so that images stay comparable with each other.
    - Colour profiles are not applied.
    - `at_least` (pixels): a JPEG may come back at 1/2, 1/4 or 1/8 of its size, as long as its short side stays at
      least that; this is several times faster where the image is shrunk afterwards anyway.

    Raises ImageFault where the file is missing, empty, truncated, or no image. Damage inside a JPEG that leaves its
    end in place is not seen: the format has no checksum.
    """
    return read_picture(path, at_least).pixels


class ReadImage(NamedTuple):
    """pixels: see `decode`. size: (height, width) where it is not reduced. data: the file's bytes."""

    pixels: np.ndarray
    size: tuple[int, int]
    data: bytes


def read_picture(path: Path, at_least: int | None = None) -> ReadImage:
    """As `decode`, with what else is known of the file once it was read."""
    with faults_of(path):
        data = path.read_bytes()
    return of_bytes(path, data, at_least)


def of_bytes(path: Path, data: bytes, at_least: int | None = None) -> ReadImage:
    """As `read_picture`, of bytes that stand for the file `path`."""
    if not data:
        raise ImageFault(path, "the file is empty (0 bytes)")
    image, size = None, None
    if data.startswith(JPEG):
        image, size = _jpeg(path, data, at_least)
    elif data.startswith(PNG):
        image = _png(path, data)
    # What OpenCV refuses, Pillow either reads or names the reason for.
    if image is None:
        image, size = _with_pillow(path, data), None
    return ReadImage(image, size or image.shape[:2], data)


def image_size(path: Path, at_least: int | None = None) -> tuple[int, int]:
    """(width, height) in pixels of what `decode(path)` gives, from the header alone; also of a JPEG that is too large
    to be read but reduced. at_least: raise where it is too large with this. Raises ImageFault."""
    with faults_of(path):
        if path.stat().st_size == 0:
            raise ImageFault(path, "the file is empty (0 bytes)")
        with contextlib.suppress(Image.DecompressionBombError), Image.open(path, formats=_formats(path)) as image:
            if image.width * image.height <= LARGEST:
                # Not getexif(), which would decode a whole PNG. TIFF, which Pillow turns by itself, has no such entry.
                return image.size[::-1] if orientation(image.info.get("exif", b"")) >= 5 else image.size
        data = path.read_bytes()
        if not data.startswith(JPEG):
            raise TooLarge(path, f"more than {LARGEST} pixels")
        header = _jpeg_header(path, data)
        _scale(path, header, at_least or 1)
        return header.size[::-1]


def stored_orientation(path: Path) -> int:
    """By how much a picture is turned when it is read; see `orientation`. 1 for what is no such file."""
    with contextlib.suppress(Exception), Image.open(path, formats=FORMATS) as image:  # told when it is read
        return orientation(image.info.get("exif", b""))
    return 1


def stored_pixels(path: Path) -> tuple[int, int, int] | None:
    """What the file itself holds: channels, bits of each, and their largest value; None where OpenCV cannot tell."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if path.stat().st_size else None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        return None
    return 1 if image.ndim == 2 else image.shape[2], 8 * image.dtype.itemsize, int(image.max())


def frame_count(path: Path) -> int:
    """How many frames or pages a picture holds, of which `decode` reads the first; 1 for a file that is none."""
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return 1


def opened(path: Path, data: bytes) -> Image.Image:
    """A picture of several frames, for `frame`. Raises ImageFault."""
    with faults_of(path):
        image = Image.open(io.BytesIO(data), formats=_formats(path, data))
        _check_size(path, *image.size)
        return image


def frame(path: Path, image: Image.Image, number: int) -> np.ndarray:
    """One frame of an opened picture, as `decode` gives the first. Raises ImageFault."""
    with faults_of(path):
        image.seek(number)
        _check_size(path, *image.size)  # pages need not be of one size
        return _to_rgb(image)


def looks_like_image(path: Path) -> bool:
    """Whether `path` is worth handing to `decode`: by its extension, else by its first bytes.

    A file with an image's extension counts even if broken, so that it gets reported instead of overlooked; the
    `._name.jpg` that macOS leaves in archives do not.
    """
    if path.name.startswith("._") or not path.is_file():
        return False
    if suffix_of(path.name) in SUFFIXES:
        return True
    with path.open("rb") as file:
        start = file.read(64)
    return (
        start.startswith((JPEG, PNG, b"GIF8", b"II*\0", b"MM\0*"))
        or (start[:4], start[8:12]) == (b"RIFF", b"WEBP")
        or (start[:2], start[6:10]) == (b"BM", bytes(4))
        or _boxed_kind(start) != ""
    )


class _Jpeg(NamedTuple):
    """What the header of a JPEG tells: its height and width as stored, and its number of colours."""

    height: int
    width: int
    components: int
    exif: bytes

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as it is seen."""
        return (self.width, self.height) if orientation(self.exif) >= 5 else (self.height, self.width)


def _jpeg_header(path: Path, data: bytes) -> _Jpeg:
    """Raises ImageFault if there is none, or the end of the file is missing."""
    at, frame, exif = 2, None, b""
    while at + 12 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = struct.unpack_from(">HHB", data, at + 5)
        if marker == 0xE1 and not exif and data.startswith(b"Exif\0\0", at + 4):
            exif = data[at + 4 : at + 2 + length]
        if marker == 0xDA:
            break
        at += 2 + length
    # Inside compressed data FF is always followed by 00 or a restart marker: FF D9 is the end, and nothing else is.
    # Looked for behind the start of scan, since a thumbnail in the header has an end of its own.
    if frame is None or data.find(b"\xff\xd9", at) < 0:
        raise ImageFault(path, f"truncated JPEG (no end marker in {len(data)} bytes)")
    return _Jpeg(*frame, exif)


def _scale(path: Path, jpeg: _Jpeg, at_least: int | None) -> int:
    """By how much it is reduced. Raises TooLarge."""
    height, width = jpeg.height, jpeg.width
    if jpeg.components == INKS:  # Pillow reads these, whole
        _check_size(path, width, height)
    by = reduction((height, width), at_least)
    if (width // by) * (height // by) > LARGEST:
        fits = [min(height, width) // by for by in sorted(REDUCED) if (width // by) * (height // by) <= LARGEST]
        reason = f"{width} x {height} is more than {LARGEST} pixels"
        raise TooLarge(path, reason, at_least=next(iter(fits), None))
    return by


def _jpeg(path: Path, data: bytes, at_least: int | None) -> tuple[np.ndarray | None, tuple[int, int]]:
    """The JPEG through OpenCV, and its whole (height, width) as it is seen; None for the image where Pillow has to read
    it. Raises ImageFault if its end is missing, or it is too large."""
    header = _jpeg_header(path, data)
    by = _scale(path, header, at_least)
    if header.components == INKS:
        return None, header.size
    return _opencv(data, RGB | REDUCED.get(by, 0), header.exif), header.size


class _Chunks(NamedTuple):
    """A PNG without the chunks that change no pixel. names: of all its chunks."""

    data: bytes
    names: set[bytes]
    exif: bytes
    depth: int
    colour: int


def _chunks(path: Path, data: bytes) -> _Chunks:
    """What a PNG is made of. Raises ImageFault if it is cut off, damaged or too large."""
    view, at, names, exif, kept = memoryview(data), len(PNG), set(), b"", [PNG]
    while b"IEND" not in names:
        length, name = struct.unpack_from(">I4s", data, at) if at + 8 <= len(data) else (0, b"")
        end = at + 12 + length
        if end > len(data):
            raise ImageFault(path, f"truncated PNG (no end chunk in {len(data)} bytes)")
        needed = name[:1].isupper()
        if needed and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise ImageFault(path, f"damaged PNG (the checksum at byte {end - 4} does not match)")
        # The other chunks (colour profile, text) change no pixel here, and faults in them make libpng print lines.
        if needed:
            kept.append(view[at:end])
        elif name == b"eXIf":
            exif = data[at + 8 : end - 4]
        names.add(name)
        at = end
    width, height, depth, colour = struct.unpack_from(">IIBB", data, len(PNG) + 8)
    _check_size(path, width, height)
    return _Chunks(b"".join(kept), names, exif, depth, colour)


def reduction(size: tuple[int, int], at_least: int | None) -> int:
    """By how much a JPEG of this height and width is reduced: 1, 2, 4 or 8."""
    return next((by for by in REDUCED if at_least and min(size) // by >= at_least), 1)


def _png(path: Path, data: bytes) -> np.ndarray | None:
    """The PNG through OpenCV; None where Pillow has to read it. Raises ImageFault if cut off or damaged."""
    found = _chunks(path, data)
    if found.colour >= 4 or found.names & {b"tRNS", b"acTL"}:  # alpha, transparency, animation
        return None
    return _opencv(found.data, RGB, found.exif)


def deep_png(path: Path, data: bytes) -> np.ndarray | None:
    """A PNG of 16 bits as it is stored, in OpenCV's order of colours; None where it has fewer. Raises ImageFault."""
    found = _chunks(path, data)
    return _opencv(found.data, cv2.IMREAD_UNCHANGED, found.exif) if found.depth == 16 else None


def _opencv(data: bytes, flags: int, exif: bytes) -> np.ndarray | None:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if image is None else upright(image, orientation(exif))


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > LARGEST:
        raise TooLarge(path, f"{width} x {height} is more than {LARGEST} pixels")


def _with_pillow(path: Path, data: bytes) -> np.ndarray:
    with faults_of(path), Image.open(io.BytesIO(data), formats=_formats(path, data)) as image:
        _check_size(path, *image.size)
        image.load()
        # Pillow takes every CMYK JPEG as inverted; only those with Adobe's marker are.
        plain_ink = image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info
        rgb = _to_rgb(ImageChops.invert(image) if plain_ink else image)
        return upright(rgb, orientation(image.info.get("exif", b"")))


def _formats(path: Path, data: bytes | None = None) -> tuple[str, ...]:
    """What Pillow may take the file for. Raises ImageFault for what is no image that can be read here."""
    if data is None:
        with path.open("rb") as file:
            data = file.read(64)
    if data.startswith(LFS):
        raise LfsPointer(path, "a Git LFS pointer, and no image", LFS_REMEDY)
    if data.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise ImageFault(path, "a web page, and no image: the download went wrong", "download it again")
    if _boxed_kind(data[:64]) != "HEIC":
        return FORMATS
    if not reads_heic():
        raise ImageFault(path, "HEIC, which needs a library that is not installed", HEIC_REMEDY)
    return (*FORMATS, "HEIF")


def _boxed_kind(start: bytes) -> str:
    """AVIF, HEIC, or nothing, by the first bytes of a file."""
    if start[4:8] != b"ftyp":
        return ""
    brands = [start[at : at + 4] for at in (8, *range(16, min(int.from_bytes(start[:4], "big"), len(start)), 4))]
    if any(brand in AVIF_BRANDS for brand in brands):
        return "AVIF"
    return "HEIC" if any(brand in HEIC_BRANDS for brand in brands) else ""


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no fixed range: convert the images to 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


@contextlib.contextmanager
def faults_of(path: Path, damaged: str = "can not be decoded") -> Iterator[None]:
    """Turn what the file system and libraries raise (for broken data: anything) into an ImageFault of these words."""
    try:
        yield
    except (ImageFault, MemoryError):
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise ImageFault(path, "the file is missing" if missing else "this is a folder, not an image") from None
    except Image.DecompressionBombError:
        raise TooLarge(path, f"more than {LARGEST} pixels") from None
    except UnidentifiedImageError:
        reason = f"no image of a known kind ({', '.join(FORMATS)}), or its header is damaged"
        raise ImageFault(path, reason, "convert it to PNG, or take its row out of the table") from None
    except Exception as error:
        told = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise ImageFault(path, f"{damaged} ({told[:160]})") from None
