# SPDX-License-Identifier: Apache-2.0
"""Speed, measured beside the plain shell way of doing the same work (``python -m benchmarks``)."""
