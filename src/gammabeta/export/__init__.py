"""A map in another system's terms: SQL, ONNX, C and polars, by methods of `Affine` and of the scalers."""
