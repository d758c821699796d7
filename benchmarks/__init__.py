"""What the server costs, each figure beside a reference measured in the same run.

`python -m benchmarks` (or `make bench`); see README.md here. Nothing in the product imports this.
"""
