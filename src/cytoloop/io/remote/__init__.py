"""Files on servers: a URL stands for a local copy of what is there now.

A copy is kept in a cache folder under the digest of its URL and of what the server says identifies
the content (ETag, version, time of change, size), so a file that changed gets a copy of its own and
whoever reads the former one is not disturbed. The server is asked once in each process.

A URL may come from a manifest of unknown origin: only the protocols named here are followed, and
nothing that a server says can lead out of the cache folder.
"""

from cytoloop.io.remote.cache import cache_folder, fetch, fetch_all, forget_fetched, local_path

__all__ = ["cache_folder", "fetch", "fetch_all", "forget_fetched", "local_path"]
