"""Encode a Pillow image as a file that opens as the same image: same mode, same pixels, same palette."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

# These come back as they were, whatever is in them.
_EXACT = {"1": "PNG", "L": "PNG", "LA": "PNG", "RGB": "PNG", "RGBA": "PNG", "CMYK": "TIFF"}
# These mostly do: a palette may be shorter than the pixels' numbers, for one.
_TO_BE_SEEN = {
    **{"P": ("PNG", "TIFF"), "PA": ("TIFF",), "I;16": ("PNG",), "I;16B": ("TIFF",)},
    **dict.fromkeys(("I", "F", "LAB", "YCbCr"), ("TIFF",)),
}


def encode_pillow(image: Image.Image) -> bytes:
    """Return a file that keeps the image's mode, for when pixels become RGB is the model's affair.

    OpenCLIP's transforms resize a picture in the mode that it has, timm's data sets convert it first; of a file that
    was converted here, one of the two would make other pixels than of the image.

    Raises:
        ValueError: No file that the server takes holds this image.
    """
    image.load()
    if image.mode in _EXACT:
        return _save(image, _EXACT[image.mode])
    if image.mode == "RGBX":
        return _save(image.convert("RGB"), "PNG")  # its fourth byte has no meaning, and its three others stay
    for name in _TO_BE_SEEN.get(image.mode, ()):
        try:
            data = _save(image, name)
            with Image.open(BytesIO(data), formats=(name,)) as sent:
                if _is_same(sent, image):
                    return data
        except (OSError, ValueError, KeyError):
            continue  # this one cannot be written so
    raise ValueError(
        f"no file holds a Pillow image of mode {image.mode!r} like this one without loss; give the file that it came "
        'from, or the RGB that it is to be: image.convert("RGB")'
    )


def _save(image: Image.Image, name: str) -> bytes:
    file = BytesIO()
    # Profiles are never applied by the source libraries, and a damaged one would keep the picture from being written.
    options = {"compress_level": 1} if name == "PNG" else {}
    image.save(file, name, icc_profile=None, **options)
    return file.getvalue()


def _is_same(sent: Image.Image, image: Image.Image) -> bool:
    if (sent.mode, sent.size) != (image.mode, image.size) or sent.tobytes() != image.tobytes():
        return False
    return "P" not in image.mode or sent.convert("RGB").tobytes() == image.convert("RGB").tobytes()
