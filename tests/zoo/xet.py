"""The filesystem store of hf_xet, used by the local Hub: list its files and read one.

``local://`` is not a documented feature of hf_xet; tests that use it are skipped without it.
"""

import struct
import tempfile
from pathlib import Path

import hf_xet

RECORD = 48
HAS_VERIFICATION, HAS_METADATA = 1 << 31, 1 << 30


class XetStore:
    """A folder that hf_xet uploads to and downloads from instead of Hugging Face's store."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.endpoint = f"local://{folder}"

    def files(self) -> dict[str, tuple[str, int]]:
        """Return Xet's hash and the size of every stored file by its sha256."""
        found = {}
        for shard in self.folder.rglob("*.mdb"):
            content = shard.read_bytes()
            position = RECORD
            while position + RECORD <= len(content) and content[position : position + 32] != b"\xff" * 32:
                name = _hex(content[position : position + 32])
                flags, segments = struct.unpack_from("<II", content, position + 32)
                records = (position + RECORD * (1 + i) for i in range(segments))
                size = sum(struct.unpack_from("<I", content, record + 36)[0] for record in records)
                position += RECORD * (1 + segments)
                if flags & HAS_VERIFICATION:
                    position += RECORD * segments
                if flags & HAS_METADATA:
                    found[_hex(content[position : position + 32])] = (name, size)
                    position += RECORD
        return found

    def read(self, sha256: str) -> bytes | None:
        """Return a stored file."""
        if sha256 not in self.files():
            return None
        name, size = self.files()[sha256]
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "file"
            with hf_xet.XetSession().new_file_download_group(endpoint=self.endpoint) as group:
                group.start_download_file(hf_xet.XetFileInfo(name, size), str(target))
            return target.read_bytes()


def _hex(digest: bytes) -> str:
    return "".join(f"{part:016x}" for part in struct.unpack("<4Q", digest))
