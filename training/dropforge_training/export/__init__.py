"""ONNX graphs, parity checks, bundles."""
