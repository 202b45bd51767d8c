"""One block in, one block out, on one device: networks, patches, views, windows."""
