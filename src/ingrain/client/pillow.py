"""Encode a Pillow image as a file that opens as the same image: same mode, same pixels, same palette."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

# Modes that a file of this format always preserves.
_EXACT = {"1": "PNG", "L": "PNG", "LA": "PNG", "RGB": "PNG", "RGBA": "PNG", "CMYK": "TIFF"}
# Modes that these formats usually preserve; a palette, for example, may be shorter than the largest pixel value.
_TO_BE_SEEN = {
    **{"P": ("PNG", "TIFF"), "PA": ("TIFF",), "I;16": ("PNG",), "I;16B": ("TIFF",)},
    **dict.fromkeys(("I", "F", "LAB", "YCbCr"), ("TIFF",)),
}


def encode_pillow(image: Image.Image) -> bytes:
    """Return a file that preserves the image's mode, because each library converts to RGB at a different step.

    OpenCLIP's transforms resize an image in its own mode, timm's data sets convert it first. Converting here would
    change the pixels for one of the two.

    Raises:
        ValueError: No file format that the server supports preserves this image.
    """
    image.load()
    if image.mode in _EXACT:
        return _save(image, _EXACT[image.mode])
    if image.mode == "RGBX":
        return _save(image.convert("RGB"), "PNG")  # drops only the unused fourth byte
    for name in _TO_BE_SEEN.get(image.mode, ()):
        try:
            data = _save(image, name)
            with Image.open(BytesIO(data), formats=(name,)) as sent:
                if _is_same(sent, image):
                    return data
        except (OSError, ValueError, KeyError):
            continue  # the format cannot store this image
    raise ValueError(
        f"no file holds a Pillow image of mode {image.mode!r} like this one without loss; give the file that it came "
        'from, or the RGB that it is to be: image.convert("RGB")'
    )


def _save(image: Image.Image, name: str) -> bytes:
    file = BytesIO()
    # The source libraries never apply colour profiles, and a damaged profile would make saving fail.
    options = {"compress_level": 1} if name == "PNG" else {}
    image.save(file, name, icc_profile=None, **options)
    return file.getvalue()


def _is_same(sent: Image.Image, image: Image.Image) -> bool:
    if (sent.mode, sent.size) != (image.mode, image.size) or sent.tobytes() != image.tobytes():
        return False
    return "P" not in image.mode or sent.convert("RGB").tobytes() == image.convert("RGB").tobytes()
