"""Every kind of image file comes out right, or as one clear fault."""

import base64
import io
import pickle
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from src.images import decode as decoder
from src.images.decode import ImageFault, decode, image_size, looks_like_image, read_picture
from tests.fixtures.codes import raises

# pytest undoes what src.images.decode sets at import.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def photo(width: int = 90, height: int = 60, seed: int = 0) -> np.ndarray:
    """A smooth colourful picture, so that lossy formats stay close to it."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def saved(path: Path, image: np.ndarray | Image.Image, **how) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **how)
    return path


def encoded(image: np.ndarray | Image.Image, kind: str, **how) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **how)
    return file.getvalue()


def off(image: np.ndarray, wanted: np.ndarray) -> float:
    """The mean difference in grey levels, after making sure of the form."""
    assert image.dtype == np.uint8 and image.shape == wanted.shape and image.flags.c_contiguous
    return float(np.abs(image.astype(int) - wanted).mean())


@pytest.mark.parametrize(
    ("name", "how", "tolerance"),
    [
        ("a.jpg", {"quality": 95}, 2),
        ("a.jpg", {"quality": 95, "progressive": True}, 2),
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.tif", {}, 0),
        ("a.tif", {"compression": "tiff_lzw"}, 0),
        ("a.tif", {"compression": "jpeg", "quality": 95}, 4),
        ("a.webp", {"lossless": True}, 0),
        ("a.webp", {"quality": 95}, 4),
        ("a.ppm", {}, 0),
        ("a.jp2", {}, 1),
        ("a.avif", {"quality": 95}, 4),
    ],
)
def test_colour_images(tmp_path, name, how, tolerance):
    path = saved(tmp_path / name, photo(), **how)
    assert off(decode(path), photo()) <= tolerance
    assert image_size(path) == (90, 60)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif"])
@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_gray_bilevel_and_palette(tmp_path, name, mode):
    image = Image.fromarray(photo())
    image = image.quantize(32) if mode == "P" else image.convert(mode)
    assert off(decode(saved(tmp_path / name, image)), np.asarray(image.convert("RGB"))) == 0


def test_gray_jpeg(tmp_path):
    image = Image.fromarray(photo()).convert("L")
    assert off(decode(saved(tmp_path / "a.jpg", image)), np.asarray(image.convert("RGB"))) <= 1


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.gif"])
def test_transparent_parts_are_white(tmp_path, name):
    """The left third is transparent over red pixels, the rest is blue and solid."""
    image = np.zeros((30, 30, 4), np.uint8)
    image[:, :10] = (255, 0, 0, 0)
    image[:, 10:] = (0, 0, 255, 255)
    how = {"lossless": True} if name == "a.webp" else {}
    got = decode(saved(tmp_path / name, Image.fromarray(image), **how))
    assert (got[:, :10] == 255).all() and (got[:, 10:] == (0, 0, 255)).all()


def test_half_transparent_and_gray_with_alpha(tmp_path):
    half = np.full((8, 8, 4), (0, 0, 200, 128), np.uint8)
    assert off(decode(saved(tmp_path / "a.png", half)), np.full((8, 8, 3), (127, 127, 227))) <= 1
    gray = Image.merge("LA", [Image.new("L", (8, 8), 100), Image.new("L", (8, 8), 0)])
    assert (decode(saved(tmp_path / "b.png", gray)) == 255).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_png_with_one_transparent_colour(tmp_path, mode):
    image = Image.new("L", (20, 20), 0)
    image.paste(90, (10, 0, 20, 20))
    image = image.convert(mode)
    key = image.getpixel((0, 0))
    got = decode(saved(tmp_path / "a.png", image, transparency=key))
    assert (got[:, :10] == 255).all() and (got[:, 10:] == 90).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("shape", [(60, 90), (60, 90, 3)])
def test_sixteen_bits_keep_the_high_byte(tmp_path, name, shape):
    image = np.random.default_rng(0).integers(0, 2**16, shape).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / name), image)
    wanted = (image if image.ndim == 3 else np.repeat(image[..., None], 3, 2))[..., ::-1] >> 8
    assert off(decode(tmp_path / name), wanted) == 0


def test_sixteen_bits_with_alpha(tmp_path):
    image = np.zeros((8, 8, 4), np.uint16)
    image[:, :4] = (60000, 0, 0, 65535)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    got = decode(tmp_path / "a.png")
    assert (got[:, 4:] == 255).all() and (got[:, :4] == (0, 0, 60000 >> 8)).all()


def test_cmyk(tmp_path):
    ink = Image.fromarray(photo()).convert("CMYK")
    inverted = encoded(ink, "JPEG", quality=95)
    (tmp_path / "adobe.jpg").write_bytes(inverted)
    assert off(decode(tmp_path / "adobe.jpg"), photo()) <= 2
    assert off(decode(saved(tmp_path / "a.tif", ink)), photo()) <= 1

    # Without Adobe's marker the values are the ink itself: the same pixels, stored the other way round.
    plain = encoded(Image.fromarray(255 - np.asarray(ink), "CMYK"), "JPEG", quality=95)
    at = plain.index(b"\xff\xee")
    length = int.from_bytes(plain[at + 2 : at + 4], "big")
    (tmp_path / "plain.jpg").write_bytes(plain[:at] + plain[at + 2 + length :])
    assert off(decode(tmp_path / "plain.jpg"), photo()) <= 2


@pytest.mark.parametrize("rotation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_exif_rotation_is_applied_once(tmp_path, name, rotation):
    exif = Image.Exif()
    exif[0x0112] = rotation
    how = {"lossless": True} if name == "a.webp" else {"quality": 95} if name == "a.jpg" else {}
    path = saved(tmp_path / name, photo(), exif=exif, **how)
    tagged = Image.fromarray(photo())
    tagged.getexif()[0x0112] = rotation
    wanted = np.asarray(ImageOps.exif_transpose(tagged))
    assert wanted.shape == ((90, 60, 3) if rotation >= 5 else (60, 90, 3))
    assert off(decode(path), wanted) <= 2
    assert image_size(path) == wanted.shape[1::-1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_broken_exif_costs_nothing(tmp_path, capfd, mode):
    for exif in (b"Exif\0\0MM", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0"):
        path = saved(tmp_path / "a.png", Image.fromarray(photo()).convert(mode), exif=exif)
        assert off(decode(path), photo()) == 0 and image_size(path) == (90, 60)
    assert capfd.readouterr() == ("", "")


def test_alpha_and_rotation_together(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = np.dstack([photo(), np.full((60, 90), 255, np.uint8)])
    path = saved(tmp_path / "a.png", image, exif=exif)
    assert off(decode(path), np.rot90(photo(), -1)) == 0 and image_size(path) == (60, 90)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_first_of_several_frames(tmp_path, name):
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    path = saved(tmp_path / name, first, save_all=True, append_images=[second], duration=50, lossless=True)
    assert off(decode(path), np.asarray(first)) <= 1


def test_the_content_decides_not_the_name(tmp_path):
    names = ["photo.JPG", "png inside.jpg", "без имени.png", "no_extension", "写真.jpeg"]
    for name in names:
        data = encoded(photo(), "JPEG" if name == "photo.JPG" else "PNG")
        (tmp_path / name).write_bytes(data)
        assert off(decode(tmp_path / name), photo()) <= 3, name
        assert image_size(tmp_path / name) == (90, 60)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("GIF", {}),
    ],
)
def test_truncation_never_passes(tmp_path, capfd, kind, how):
    data = encoded(photo(96, 60), kind, **how)
    path = tmp_path / "cut"
    last = len(data) - (3 if kind == "GIF" else 1)  # a GIF's last two bytes end the file, not the frame
    for size in {*range(1, last, max(1, len(data) // 60)), last - 1, last}:
        path.write_bytes(data[:size])
        with pytest.raises(ImageFault) as fault:
            decode(path)
        assert str(path) in str(fault.value) and "Remedy" in str(fault.value)
    assert capfd.readouterr() == ("", ""), "the libraries' own lines reach the user"


def test_truncation_filled_with_zeros(tmp_path):
    for kind in ("JPEG", "PNG"):
        data = encoded(photo(), kind)
        half = len(data) // 2
        (tmp_path / "a").write_bytes(data[:half] + bytes(len(data) - half))
        with pytest.raises(ImageFault):
            decode(tmp_path / "a")


def test_a_thumbnail_does_not_hide_truncation(tmp_path):
    """The thumbnail in the header has an end marker of its own."""
    data, thumbnail = encoded(photo(), "JPEG"), encoded(photo(16, 16), "JPEG")
    segment = b"\xff\xe5" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = data[:2] + segment + data[2:]
    (tmp_path / "a.jpg").write_bytes(whole)
    assert off(decode(tmp_path / "a.jpg"), photo()) <= 3
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) - 200])
    with raises("bad-image", "a.jpg"):
        decode(tmp_path / "a.jpg")


def test_bytes_after_the_end_do_no_harm(tmp_path):
    for kind in ("JPEG", "PNG"):
        (tmp_path / "a").write_bytes(encoded(photo(), kind) + b"some camera's trailer" * 9)
        assert off(decode(tmp_path / "a"), photo()) <= 3


def test_damage_inside_a_png(tmp_path):
    data = bytearray(encoded(photo(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with raises("bad-image", "a.png"):
        decode(tmp_path / "a.png")


def test_damage_inside_a_progressive_jpeg(tmp_path, capfd):
    data = bytearray(encoded(photo(), "JPEG", progressive=True))
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    (tmp_path / "a.jpg").write_bytes(data)
    with raises("bad-image", "a.jpg"):
        decode(tmp_path / "a.jpg")
    assert capfd.readouterr() == ("", "")


def test_a_bad_colour_profile_is_ignored_in_silence(tmp_path, capfd):
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    data = encoded(photo(), "PNG")
    bad = data[:33] + chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile")) + chunk(b"sRGB", b"\x09") + data[33:]
    (tmp_path / "a.png").write_bytes(bad)
    assert off(decode(tmp_path / "a.png"), photo()) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("read", [decode, image_size])
def test_what_is_no_image_at_all(tmp_path, read):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>403 Forbidden</html>")
    (tmp_path / "drawing.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    cases = {
        "empty.jpg": "empty",
        "page.jpg": "no image",
        "drawing.png": "no image",
        "gone.png": "missing",
        "": "folder",
    }
    for name, reason in cases.items():
        with raises("bad-image", str(tmp_path / name), reason) as fault:
            read(tmp_path / name)
        assert fault.value.exit_code == 1


def test_pixels_without_a_range_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.random.default_rng(0).random((8, 8)).astype(np.float32))
    with raises("bad-image", "32-bit"):
        decode(tmp_path / "a.tif")


def test_a_small_file_that_unfolds_into_a_huge_image(tmp_path):
    png, gif = bytearray(encoded(photo(), "PNG")), bytearray(encoded(photo(), "GIF"))
    png[16:24] = struct.pack(">II", 20_000, 20_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    for data, size in ((png, "20000 x 20000"), (gif, "pixels")):
        (tmp_path / "a").write_bytes(data)
        with raises("bad-image", size):
            decode(tmp_path / "a")


@pytest.mark.parametrize(("at_least", "factor"), [(None, 1), (241, 1), (240, 2), (120, 4), (60, 8), (10, 8)])
def test_reduced_jpeg(tmp_path, at_least, factor):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.jpg", photo(640, 480), quality=95, exif=exif)
    image, size, _ = read_picture(path, at_least)
    assert size == (640, 480)
    assert image.shape == (640 // factor, 480 // factor, 3)
    full = cv2.resize(decode(path), image.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert off(image, full) < 1.5


def test_only_jpeg_is_reduced(tmp_path):
    assert decode(saved(tmp_path / "a.png", photo()), 10).shape == (60, 90, 3)


def test_image_size_reads_the_header_only(tmp_path):
    for kind in ("JPEG", "PNG", "BMP"):
        (tmp_path / "a").write_bytes(encoded(photo(900, 600), kind)[:1000])
        assert image_size(tmp_path / "a") == (900, 600)


def test_looks_like_image(tmp_path):
    for kind in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"):
        (tmp_path / kind).write_bytes(encoded(photo(), kind))
        assert looks_like_image(tmp_path / kind)
    (tmp_path / "broken.JPG").write_bytes(b"")
    assert looks_like_image(tmp_path / "broken.JPG"), "a broken image is to be reported, not overlooked"
    (tmp_path / "train.csv").write_text("BMI,label\n1,2\n" * 9)
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7" + bytes(80))
    (tmp_path / "folder.png").mkdir()
    for name in ("train.csv", "._a.jpg", "folder.png", "gone.jpg"):
        assert not looks_like_image(tmp_path / name), name


def test_a_fault_survives_the_way_home_from_a_worker(tmp_path):
    with pytest.raises(ImageFault) as caught:
        decode(tmp_path / "gone.png")
    fault = pickle.loads(pickle.dumps(caught.value))
    assert (str(fault), fault.path, fault.reason) == (str(caught.value), tmp_path / "gone.png", caught.value.reason)


# 72 x 48 pixels: red above, blue below, and green added on the left. Written by pillow-heif.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAL0AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCSBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwYkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAASAAAAEAAAAAoY2xhcAAAAEgAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAMVtZGF0AAAAuSgBrw7R/UDoMwBJTnwRL//xY/kO6kOYGgKJW5h/"
    "Qv6X16h/+iV2D8DPswOkLMih2at+Cr+wQxMcFIP99w0qQ1mwv0j9Vd37QsCF7twZHHYEy6dY+PX6cV6qFn05tO4ZJh4HT+Ffb9uR"
    "NvuHYWdjBhzgHfQ1m3mMFMxd1YeTBGechIDsmralnbnd/y0Jt8UyHH9I+336dAJTf6g7Uhcjh7zv+8Bfn/Gu4/pH2+/ToB82H1C9"
    "EwH4ACog"
)


@pytest.mark.parametrize("library", decoder.HEIC_LIBRARIES)
def test_heic_through_either_library(tmp_path, monkeypatch, library):
    pytest.importorskip(library, reason="HEIC is optional: pip install pillow-heif or pi-heif")
    for other in set(decoder.HEIC_LIBRARIES) - {library}:
        monkeypatch.setitem(sys.modules, other, None)
    decoder.reads_heic.cache_clear()
    (tmp_path / "a.heic").write_bytes(HEIC)
    (tmp_path / "bare").write_bytes(HEIC)
    wanted = np.zeros((48, 72, 3), np.uint8)
    wanted[:24], wanted[24:] = (220, 40, 40), (40, 60, 200)
    wanted[:, :36, 1] = 160
    assert off(decode(tmp_path / "a.heic"), wanted) < 3
    assert image_size(tmp_path / "a.heic") == (72, 48)
    assert looks_like_image(tmp_path / "bare") and off(decode(tmp_path / "bare"), wanted) < 3


def test_heic_without_a_library_names_it(tmp_path, monkeypatch):
    for library in decoder.HEIC_LIBRARIES:
        monkeypatch.setitem(sys.modules, library, None)
    decoder.reads_heic.cache_clear()
    (tmp_path / "a.heic").write_bytes(HEIC)
    for read in (decode, image_size):
        with raises("bad-image", "pillow-heif"):
            read(tmp_path / "a.heic")
    decoder.reads_heic.cache_clear()


def test_a_git_lfs_pointer_has_an_error_of_its_own(tmp_path):
    (tmp_path / "a.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    for read in (decode, image_size):
        with raises("git-lfs-pointer", "git lfs pull") as text:
            read(tmp_path / "a.jpg")
        assert pickle.loads(pickle.dumps(text.value)).code == "git-lfs-pointer"


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a/12.JPG?width=300", ".jpg"),
        ("what?.png", ".png"),
        ("a.b/c", ""),
        ("x.tar.gz", ".gz"),
        ("q.txt?x=1.jpg", ".jpg"),
    ],
)
def test_what_a_file_s_ending_is(name, suffix):
    assert decoder.suffix_of(name) == suffix
