# SPDX-License-Identifier: Apache-2.0
"""Load and chaos: several workers on one C gearmand, killed and restarted while jobs run (docs/benchmarks.md)."""
