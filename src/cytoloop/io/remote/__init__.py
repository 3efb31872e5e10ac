"""Local copies of remote files: each URL is downloaded once and read from a cache folder.

A manifest with URLs may come from an unknown source. Only the protocols of
`cytoloop.urls.PROTOCOLS` are followed, and no name that a server sends leads out of the cache
folder.
"""

from cytoloop.io.remote.cache import cache_folder, fetch, fetch_all, forget_fetched, local_path

__all__ = ["cache_folder", "fetch", "fetch_all", "forget_fetched", "local_path"]
