# SPDX-License-Identifier: Apache-2.0
"""The demo: three changes of a real project through a real worker, on one machine (``python -m demo``)."""
