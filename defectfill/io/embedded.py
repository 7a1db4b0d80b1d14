"""Pictures inside texts: small enough to be sent along wherever a page shows them by an address."""

import base64
from io import BytesIO
from pathlib import Path

from defectfill.io.images import read_image

LARGEST_SIDE_PX = 2000
SMALLER = 0.8
QUALITY = 80


def data_uri(path: Path, most_bytes: int) -> str:
    """Return the picture in a file of 8 bits as a `data:` URI of WebP, scaled down until it has at most so many bytes.

    The bytes are those of the picture; its URI is a third longer.
    """
    from PIL import Image

    picture = Image.fromarray(read_image(path)[..., :3].squeeze())
    side = float(LARGEST_SIDE_PX)
    while True:
        smaller, content = picture.copy(), BytesIO()
        smaller.thumbnail((side, side))
        smaller.save(content, "WEBP", quality=QUALITY)
        if content.tell() <= most_bytes or max(smaller.size) <= 1:
            return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
        side = SMALLER * max(smaller.size)
