"""Images in and out, voxel sizes, remote files, atomic writes, file hashes."""
