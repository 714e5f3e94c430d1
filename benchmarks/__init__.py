"""What every claim of speed rests on: `python -m benchmarks --help`."""
