"""Servers by other libraries for `benchmarks.serving` (a bare graph: no features, routing or log), and constants.

Each reads `model.onnx` in the folder that BENCHMARK names. Those of other libraries run in an environment of their own,
since their requirements and ours exclude each other: `pip install -r benchmarks/peers/requirements.txt`.
"""
