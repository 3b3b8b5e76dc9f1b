<<<<<<< HEAD
"""Servers by other libraries for `benchmarks.serving` (a bare graph: no features, no routing, no log) and constants.

A graph lies in the folder that BENCHMARK names: `model.onnx`. What is not ours runs in an environment of its own, since
its requirements and ours exclude each other: `pip install -r benchmarks/peers/requirements.txt`.
=======
"""Servers of a bare graph with other libraries, for `benchmarks.serving`: no features, no routing, no log.

Each reads `model.onnx` in the folder that BENCHMARK names. They run in an environment of their own, since their
requirements and ours exclude each other: `pip install -r benchmarks/peers/requirements.txt`.
>>>>>>> f3749f1ad3ac53a7744280a66463d47350b68ca8
"""
