"""Servers by other libraries for `benchmarks.serving` (a bare graph: no features, no routing, no log) and constants.

A graph lies in the folder that BENCHMARK names: `model.onnx`. What is not ours runs in an environment of its own, since
its requirements and ours exclude each other: `pip install -r benchmarks/peers/requirements.txt`.
"""
