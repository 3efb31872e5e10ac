"""Read and write images, voxel sizes, remote files, atomic writes, file hashes."""
