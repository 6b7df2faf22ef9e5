"""The store: the only room that imports zarr, ome_zarr, ngio and fsspec."""
