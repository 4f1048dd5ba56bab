"""Where sources, strips and results live: a local folder or an S3-compatible bucket behind one interface.

Every call blocks and is made in a thread, never on an event loop; every object is safe for use by several threads,
except that a writer belongs to one thread at a time.
"""

from app.storage.interface import MissingObjectError, Stat, Storage, StorageError, StorageWriter
from app.storage.keys import check_key
from app.storage.opening import open_storage, storage_of

__all__ = [
    "MissingObjectError",
    "Stat",
    "Storage",
    "StorageError",
    "StorageWriter",
    "check_key",
    "open_storage",
    "storage_of",
]
