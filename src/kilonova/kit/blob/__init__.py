"""Bytes of objects (images, volumes' backups, S3): a small port; directory and memory adapters."""

from kilonova.kit.blob.directory import DirectoryBlobs
from kilonova.kit.blob.memory import MemoryBlobs
from kilonova.kit.blob.port import Blobs, Reader, Stored, Tap

__all__ = ["Blobs", "DirectoryBlobs", "MemoryBlobs", "Reader", "Stored", "Tap"]
