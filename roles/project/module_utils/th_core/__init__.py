# SPDX-License-Identifier: Apache-2.0
"""How a stage ends, the files it leaves, texts, names and documents that people write.

Imports nothing but Ansible; everything else may import it.
"""
