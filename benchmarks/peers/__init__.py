"""Servers of a bare graph by other libraries, for `benchmarks.serving`: no features, no routing, no log.

Each reads the folder that BENCHMARK names: `model.onnx`. They run in an environment of their own, since their
requirements and ours exclude each other: `pip install -r benchmarks/peers/requirements.txt`.
"""
