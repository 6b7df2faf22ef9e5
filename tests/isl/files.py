"""Safetensors files made by hand, so that their headers can lie."""

import json
from pathlib import Path
from typing import Any


def one_tensor(**changes: Any) -> dict[str, Any]:
    """Return how a header tells of six float32 numbers at the start of the file."""
    return {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}


def write_file(
    path: Path, header: bytes | str | dict[str, Any], n_bytes: int = 24, length: int | None = None
) -> Path:
    """Write a header, with its own length or another, and so many bytes of tensors."""
    text = json.dumps(header) if isinstance(header, dict) else header
    content = text.encode() if isinstance(text, str) else text
    start = (len(content) if length is None else length).to_bytes(8, "little")
    path.write_bytes(start + content + bytes(n_bytes))
    return path
