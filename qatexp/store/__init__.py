"""Files on disk: atomic writes, the folder of a run, the cache of finished stages."""
