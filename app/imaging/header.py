"""Opens a picture file as far as its header: what it is and how large, without decoding a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

# Importing a plugin registers it; only these formats can ever be opened here.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from app.imaging import exif, gif_source, jpeg_source, metadata, orientation, png_source, tiff_source
from app.imaging.codec_errors import broken_if_fails
from app.imaging.picture import BrokenPictureError, UnsupportedPictureError
from app.imaging.signatures import sniff

# Pillow's own guard is a fixed number, warns through a global filter and raises outside our error family.
# This package checks the header against the caller's limit before it decodes, so it is switched off.
Image.MAX_IMAGE_PIXELS = None

# Counting further would let a file of a million empty frames keep a processor busy for minutes.
MAX_COUNTED_FRAMES = 1000

_PILLOW_FORMATS = {
    "png": ("PNG",),
    "jpeg": ("JPEG", "MPO"),
    "webp": ("WEBP",),
    "avif": ("AVIF",),
    "tiff": ("TIFF",),
    "bmp": ("BMP",),
    "gif": ("GIF",),
    "heic": ("HEIF",),
}
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about its picture."""

    format: str
    """``png jpeg webp avif tiff bmp gif heic``; MPO is ``jpeg``."""
    width: int
    height: int
    """Of the upright picture (EXIF orientation applied)."""
    frames: int
    """Frames or pages, 1..MAX_COUNTED_FRAMES; always 1 for JPEG, MPO and HEIC."""
    bits: int
    """8 or 16 per sample, as it will be decoded."""
    has_alpha: bool


@dataclass(frozen=True, slots=True)
class OpenedPicture:
    """A header with what the decoder needs to go on."""

    header: Header
    image: Image.Image | None
    """Opened, not loaded; None for a 16-bit TIFF that Pillow cannot open."""
    orientation: int
    """Turns the stored rows upright; 1 where the codec does that itself."""
    stored_bits: int = 8
    """Bits per sample in the file: 1, 2, 4, 8 or 16 for PNG."""
    page: tiff_source.TiffPage | None = None
    """Only for TIFF."""


def read_header(file: BinaryIO) -> Header:
    """Reads the header only; cheap whatever the file claims. ``file`` must be seekable.

    Raises UnsupportedPictureError (``unsupported_format``, ``unsupported_samples``, ``heic_not_supported``)
    and BrokenPictureError (``empty_file``, ``broken_picture``, ``too_many_scans``).
    """
    opened = open_picture(file)
    if opened.image is not None:
        release(opened.image)
    return opened.header


def release(image: Image.Image) -> None:
    """Frees the image's memory and leaves the file open: it is the caller's, and Pillow would close it."""
    for holder in ("fp", "_fp"):  # formats with several frames have both
        if hasattr(image, holder):
            setattr(image, holder, None)
    image.close()


def open_picture(file: BinaryIO) -> OpenedPicture:
    """Like ``read_header``, and keeps the opened file for the decoder."""
    name = sniff(file)
    if name == "tiff":
        return _open_tiff(file)
    if name == "heic":
        _register_heic()
    if name == "jpeg":
        jpeg_source.check_scans(file)
    image = _open_with_pillow(file, name)
    stored_bits = 8
    with broken_if_fails("its header"):
        if name == "png":
            stored_bits = png_source.stored_bits(file)
            exif_chunk = png_source.exif(file)
            if exif_chunk is not None:
                image.info["exif"] = exif_chunk
        turn = 1 if name == "heic" else exif.orientation(metadata.read_exif(image))
        width, height = image.size
        if orientation.swaps_axes(turn):
            width, height = height, width
        frames = _count_frames(file, name, image)
    header = Header(
        format=name,
        width=width,
        height=height,
        frames=frames,
        bits=16 if stored_bits == 16 else 8,
        has_alpha=image.mode in _ALPHA_MODES or "transparency" in image.info,
    )
    return OpenedPicture(header, image, turn, stored_bits)


def _open_with_pillow(file: BinaryIO, name: str) -> Image.Image:
    with broken_if_fails("its header"):
        try:
            file.seek(0)
            image = Image.open(file, formats=_PILLOW_FORMATS[name])
        except UnidentifiedImageError as error:
            raise BrokenPictureError(
                "broken_picture",
                f"The file starts like {name.upper()}, but its header is damaged or of a kind that is not "
                "read here. Open it in an editor, save it again and send that.",
            ) from error
        if image.width < 1 or image.height < 1:
            raise BrokenPictureError("broken_picture", "The picture is damaged: its header gives no size.")
        return image


def _open_tiff(file: BinaryIO) -> OpenedPicture:
    page = tiff_source.read_page(file)
    frames = tiff_source.count_pages(file, limit=MAX_COUNTED_FRAMES)
    image: Image.Image | None
    try:
        image = _open_with_pillow(file, "tiff")
    except BrokenPictureError as error:
        if page.bits == 8:
            raise UnsupportedPictureError(
                "unsupported_samples",
                "This TIFF stores its pixels in a way that is not read here. Save it as plain grey or RGB.",
            ) from error
        image = None  # libvips will read it
    if image is not None:
        with broken_if_fails("its TIFF directory"):
            # Pillow turns TIFFs upright as it loads them, and would turn those without the tag by their XMP, after
            # its size is known.
            image.getexif()[ExifTags.Base.Orientation] = page.orientation
    width, height = page.width, page.height
    if orientation.swaps_axes(page.orientation):
        width, height = height, width
    has_alpha = page.alpha if page.bits == 16 or image is None else image.mode in _ALPHA_MODES
    header = Header("tiff", width, height, frames, page.bits, has_alpha)
    # Pillow turns a TIFF upright when it loads it; libvips, which reads 16-bit ones, does not.
    return OpenedPicture(header, image, page.orientation if page.bits == 16 else 1, page.bits, page)


def _register_heic() -> None:
    try:
        # Imported when the first HEIC arrives: it loads a video decoder.
        import pillow_heif  # noqa: PLC0415
    except ImportError as error:
        raise UnsupportedPictureError(
            "heic_not_supported", "HEIC is not read by this installation. Send the picture as JPEG."
        ) from error
    pillow_heif.register_heif_opener()


def _count_frames(file: BinaryIO, name: str, image: Image.Image) -> int:
    if name == "gif":
        at = file.tell()
        frames = gif_source.count_frames(file, limit=MAX_COUNTED_FRAMES)
        file.seek(at)  # Pillow's GIF reader goes on from where it stood
        return frames
    if name in ("png", "webp", "avif"):
        return min(int(getattr(image, "n_frames", 1)), MAX_COUNTED_FRAMES)
    return 1
