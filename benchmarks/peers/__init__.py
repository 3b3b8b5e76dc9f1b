"""Servers of a bare graph with other libraries, for `benchmarks.serving`: no features, no routing, no log.

Each reads `model.onnx` in the folder that BENCHMARK names. They run in an environment of their own, since their
requirements and ours exclude each other: `pip install -r benchmarks/peers/requirements.txt`.
"""
